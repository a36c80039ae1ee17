"""The trunk is transformers' GPT-2, for random and for trained checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lamo.config import TrunkConfig
from lamo.errors import LanguageModelError
from lamo.trunk import PretrainedTrunk, Trunk, gather_tokens

TINY = {"vocab_size": 50, "n_positions": 32, "n_embd": 24, "n_layer": 3, "n_head": 4}


def save_random_gpt2(folder: Path, **options: object) -> Path:
    torch.manual_seed(0)
    language_model = GPT2LMHeadModel(GPT2Config(**{**TINY, **options}))
    with torch.no_grad():
        for parameter in language_model.parameters():
            parameter.normal_(std=0.3)  # biases start at zero, where a forgotten one would not show
    language_model.save_pretrained(folder)
    return folder


def relative_error(folder: Path | str, dtype: torch.dtype) -> float:
    """Largest difference of the logits on random text, relative to the largest logit."""
    theirs = GPT2LMHeadModel.from_pretrained(folder).to(dtype).eval()
    ours = PretrainedTrunk.load(str(folder))
    trunk, wte, wpe = ours.trunk.to(dtype).eval(), ours.wte.to(dtype), ours.wpe.to(dtype)
    text = torch.randint(0, theirs.config.vocab_size, (3, 30), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(text).logits
        logits = trunk(wte[text] + wpe[:30]) @ wte.T
    return float((logits - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation_function": "relu"},
        {"activation_function": "gelu"},
        {"n_inner": 40},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"layer_norm_epsilon": 1e-3},
    ],
)
def test_a_random_gpt2_gives_the_same_logits(tmp_path: Path, options: dict[str, object]) -> None:
    folder = save_random_gpt2(tmp_path, **options)
    assert relative_error(folder, torch.float64) < 1e-9
    assert relative_error(folder, torch.float32) < 1e-5


@pytest.mark.parametrize("name", ["steam", "tarotble"])
def test_a_trained_gpt2_gives_the_same_logits(shared_data: Path, name: str) -> None:
    folder = shared_data / "tiny-gpt2" / name
    assert relative_error(folder, torch.float64) < 1e-9
    assert relative_error(folder, torch.float32) < 1e-5


def test_bfloat16_is_no_further_from_float32_than_transformers_own(tmp_path: Path) -> None:
    folder = save_random_gpt2(tmp_path)
    theirs = GPT2LMHeadModel.from_pretrained(folder).eval()
    ours = PretrainedTrunk.load(str(folder))
    text = torch.randint(0, 50, (8, 30), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        exact = theirs(text).logits
        their_error = (theirs.bfloat16()(text).logits.float() - exact).pow(2).mean()
        trunk, wte, wpe = ours.trunk.bfloat16().eval(), ours.wte.bfloat16(), ours.wpe.bfloat16()
        our_error = ((trunk(wte[text] + wpe[:30]) @ wte.T).float() - exact).pow(2).mean()
    assert our_error <= 1.1 * their_error


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"reorder_and_upcast_attn": True}, "reorder_and_upcast_attn"),
        ({"activation_function": "leaky_relu"}, "leaky_relu"),
    ],
)
def test_what_the_trunk_does_not_honour_is_refused_by_name(
    tmp_path: Path, options: dict[str, object], named: str
) -> None:
    GPT2Config(**{**TINY, **options}).save_pretrained(tmp_path)
    with pytest.raises(LanguageModelError, match=named):
        PretrainedTrunk.load(str(tmp_path))


def test_a_folder_that_is_no_gpt2_is_refused_with_its_kind(tmp_path: Path) -> None:
    small = LlamaConfig(
        vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    LlamaForCausalLM(small).save_pretrained(tmp_path)
    with pytest.raises(LanguageModelError, match="'llama', not a 'gpt2'"):
        PretrainedTrunk.load(str(tmp_path))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match="nowhere"):
        PretrainedTrunk.load(str(tmp_path / "nowhere"))


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    folder = save_random_gpt2(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(LanguageModelError, match="weights of"):
        PretrainedTrunk.load(str(folder))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("3", "cannot be read"),
        ('{"model_type": "gpt2", "n_layer": "two"}', "field 'n_layer': .*expected int, got str"),
        ('{"model_type": "gpt2", "n_layer": 0}', "n_layer is 0, not a whole number of at least 1"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(LanguageModelError, match=sentence):
        PretrainedTrunk.load(str(tmp_path))


def test_weights_of_other_shapes_than_their_config_says_are_refused_with_both(tmp_path: Path) -> None:
    folder = save_random_gpt2(tmp_path)
    GPT2Config(**{**TINY, "vocab_size": 60}).save_pretrained(folder)
    with pytest.raises(LanguageModelError, match=r"wte\.weight has shape \[50, 24\], its config says \[60, 24\]"):
        PretrainedTrunk.load(str(folder))


def test_weights_that_lack_a_tensor_are_refused(tmp_path: Path) -> None:
    folder = save_random_gpt2(tmp_path)
    GPT2Config(**{**TINY, "n_layer": 4}).save_pretrained(folder)
    with pytest.raises(LanguageModelError, match="lack 12 tensors"):
        PretrainedTrunk.load(str(folder))


@pytest.fixture
def trunk_and_tokens() -> tuple[Trunk, torch.Tensor]:
    torch.manual_seed(2)
    trunk = Trunk(TrunkConfig(n_layer=3, n_head=2, n_embd=16, n_inner=40)).double()
    return trunk, torch.randn(4, 11, 16, dtype=torch.float64)


@pytest.mark.parametrize("read", [[[1, 4, 7, 10]], [[0], [10], [3], [5]]])
def test_tokens_that_are_read_alone_are_what_they_are_among_all(
    trunk_and_tokens: tuple[Trunk, torch.Tensor], read: list[list[int]]
) -> None:
    trunk, tokens = trunk_and_tokens
    where = torch.tensor(read)
    among_all = gather_tokens(trunk(tokens), where)
    alone = trunk(tokens, where)
    torch.testing.assert_close(alone, among_all, rtol=0, atol=1e-12)
    weights = list(trunk.parameters())
    for one, other in zip(
        torch.autograd.grad(alone.square().sum(), weights),
        torch.autograd.grad(among_all.square().sum(), weights),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_tokens_that_are_read_alone_see_none_that_follow(trunk_and_tokens: tuple[Trunk, torch.Tensor]) -> None:
    trunk, tokens = trunk_and_tokens
    changed = tokens.clone()
    changed[:, 5:] = tokens[:, 5:].flip(-1)  # adding a constant would be lost in the LayerNorms
    where = torch.tensor([[1, 4, 7]])
    before, after = trunk(tokens, where), trunk(changed, where)
    assert torch.equal(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_recomputing_blocks_keeps_fewer_activations(trunk_and_tokens: tuple[Trunk, torch.Tensor]) -> None:
    trunk, tokens = trunk_and_tokens
    kept = []
    for trunk.checkpointing in (False, True):
        sizes: list[int] = []

        def count(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            trunk(tokens)
        kept.append(sum(sizes))
    assert kept[1] < 0.3 * kept[0]
