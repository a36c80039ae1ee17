"""LoRA: what trains, how much of it there is, and that merging changes nothing."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lamo.batch import Batch
from lamo.config import ActionSpace, ObservationSpace, PolicyConfig, TrunkConfig
from lamo.model import LamoModel
from training.learning.adaptation import trainable_groups, trainable_parameters
from training.learning.lora import add_lora, merge
from training.tasks.task import read_task

GPT2_SMALL = TrunkConfig(n_layer=12, n_head=12, n_embd=768, n_inner=3072)
EMBEDDINGS_OF_WORDS = (50257 + 1024) * 768


def _policy_config(observations: int, actions: int, embedding: str, table: int) -> PolicyConfig:
    return PolicyConfig(
        task="counted",
        observation=ObservationSpace((observations,)),
        action=ActionSpace((actions,), low=(-1.0,) * actions, high=(1.0,) * actions),
        trunk=GPT2_SMALL,
        context_length=20,
        return_scale=1.0,
        target_returns=(1.0,),
        timestep_table_size=table,
        max_timesteps=table,
        embedding=embedding,  # type: ignore[arg-type]
    )


def _count(parameters: dict[str, nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters.values())


def _batch(config: PolicyConfig) -> Batch:
    shape = (3, config.context_length)
    generator = torch.Generator().manual_seed(2)
    return Batch(
        returns_to_go=torch.randn(*shape, 1, generator=generator),
        states=torch.randn(*shape, config.observation.size, generator=generator),
        actions=torch.randn(*shape, config.action.size, generator=generator),
        timesteps=torch.arange(config.context_length).expand(shape),
        lengths=torch.tensor([config.context_length, 2, 4]),
    )


@pytest.fixture
def adapted(model: LamoModel) -> LamoModel:
    """The small model with LoRA whose matrices and biases are far from zero."""
    adapted = copy.deepcopy(model).requires_grad_(True)  # the shared one may have been frozen by a policy
    with torch.random.fork_rng():
        torch.manual_seed(11)
        add_lora(adapted.trunk, rank=3, alpha=6, dropout=0.1)
        groups = trainable_groups(adapted)
        with torch.no_grad():
            for parameter in (*groups["lora"].values(), *groups["bias"].values()):
                parameter.normal_(std=0.3)
    return adapted.eval()


def test_at_gpt2_smalls_shape_lora_is_0_728_percent_of_the_trunk() -> None:
    config = _policy_config(17, 6, "mlp", 1000)
    with torch.device("meta"):
        model = LamoModel(config)
        add_lora(model.trunk, rank=16, alpha=32, dropout=0.1)
    groups = trainable_groups(model)
    trunk = sum(parameter.numel() for parameter in model.trunk.parameters()) + EMBEDDINGS_OF_WORDS
    assert _count(groups["lora"]) == 884_736
    assert _count(groups["lora"]) + _count(groups["bias"]) == 912_384
    assert trunk == 125_324_544
    assert round(100 * 912_384 / trunk, 3) == 0.728


@pytest.mark.parametrize(
    ("observations", "actions", "embedding", "table", "trainable", "total"),
    [
        pytest.param(17, 6, "mlp", 1000, 4_083_480, 128_495_640, id="halfcheetah and walker2d"),
        pytest.param(11, 3, "linear", 1000, 1_707_279, 126_119_439, id="hopper"),
        pytest.param(60, 9, "mlp", 1000, 4_154_182, 128_566_342, id="kitchen"),
        pytest.param(12, 2, "mlp", 100, 3_378_447, 127_790_607, id="reacher2d"),
    ],
)
def test_the_whole_model_has_the_references_counts(
    observations: int, actions: int, embedding: str, table: int, trainable: int, total: int
) -> None:
    config = _policy_config(observations, actions, embedding, table)
    with torch.device("meta"):
        model = LamoModel(config)
        add_lora(model.trunk, rank=16, alpha=32, dropout=0.1)
        predict_state = nn.Linear(config.trunk.n_embd, observations)
        predict_return = nn.Linear(config.trunk.n_embd, 1)
    unused = sum(item.numel() for head in (predict_state, predict_return) for item in head.parameters())
    assert _count(trainable_parameters(model)) + unused == trainable
    everything = sum(parameter.numel() for parameter in model.parameters()) + EMBEDDINGS_OF_WORDS
    assert everything + unused == total


@pytest.mark.parametrize("task", ["hopper-medium", "walker2d-medium", "halfcheetah-medium", "reacher2d"])
def test_the_counted_embeddings_and_tables_are_the_tasks(task: str) -> None:
    linear = task == "hopper-medium"
    assert read_task(task).task.embeddings == ("linear" if linear else "mlp")
    assert read_task(task).task.timestep_rows == (100 if task == "reacher2d" else 1000)


def test_no_group_of_trainable_parameters_is_empty_and_the_rest_is_frozen(adapted: LamoModel) -> None:
    groups = trainable_groups(adapted)
    assert all(groups.values())
    chosen = {name for group in groups.values() for name in group}
    assert chosen == {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    frozen = {name for name, _ in adapted.named_parameters()} - chosen
    assert frozen
    assert all(name.startswith("trunk.") for name in frozen)


def test_every_block_has_lora_of_its_own_on_q_k_and_v(adapted: LamoModel) -> None:
    names = set(trainable_groups(adapted)["bias"])
    assert names == {
        f"trunk.blocks.{layer}.attention.{part}.base_layer.bias" for layer in range(2) for part in "qkv"
    }
    assert len(trainable_groups(adapted)["lora"]) == 2 * 3 * 2


def test_fresh_lora_changes_nothing(model: LamoModel, config: PolicyConfig) -> None:
    adapted = copy.deepcopy(model)
    add_lora(adapted.trunk, rank=4, alpha=8, dropout=0.5)
    with torch.inference_mode():
        assert torch.equal(adapted.eval()(_batch(config)), model(_batch(config)))


def test_merged_equals_unmerged_and_differs_from_the_base(
    adapted: LamoModel, model: LamoModel, config: PolicyConfig
) -> None:
    batch = _batch(config)
    with torch.inference_mode():
        unmerged, merged, base = adapted(batch), merge(adapted)(batch), model(batch)
    torch.testing.assert_close(merged, unmerged, rtol=1e-5, atol=1e-5)
    assert (unmerged - base).abs().max() > 0.01


def test_merging_gives_a_plain_model_and_leaves_the_original_as_it_was(
    adapted: LamoModel, config: PolicyConfig
) -> None:
    before = {name: tensor.clone() for name, tensor in adapted.state_dict().items()}
    merged = merge(adapted.train())
    assert merged.state_dict().keys() == LamoModel(config).state_dict().keys()
    assert not any(parameter.requires_grad for parameter in merged.parameters())
    assert adapted.training
    after = adapted.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_merging_is_done_in_float32(adapted: LamoModel) -> None:
    assert {tensor.dtype for tensor in merge(adapted.bfloat16()).state_dict().values()} == {torch.float32}
