"""Pretraining a language model from text, end to end on a very small one."""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lamo.errors import ConfigError, DatasetError
from training import cli
from training.language import pretrain as pretraining
from training.language.corpus import python_topics
from training.language.held_out import mean_loss, split_documents
from training.language.pretrain import learning_rate_at, pretrain, run
from training.language.pretrain_config import PretrainConfig, add_arguments, config_from


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "topics.txt"
    path.write_text("<|endoftext|>".join(python_topics()[:12]), encoding="utf-8")
    return path


def tiny(text: Path, out: Path) -> PretrainConfig:
    return PretrainConfig(
        text=(text,),
        out=out,
        layers=1,
        width=16,
        heads=2,
        vocab_size=300,
        context=32,
        updates=40,
        batch_size=4,
        learning_rate=1e-2,
        warm_up=5,
        held_out_share=0.2,
        threads=1,
    )


@pytest.fixture(scope="module")
def result(text: Path, tmp_path_factory: pytest.TempPathFactory):
    config = replace(tiny(text, tmp_path_factory.mktemp("lm")), also_evaluate=(text,), origins=("Python's own",))
    return pretrain(config)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_training_lowers_the_loss_on_held_out_documents(result):
    held_out, also = result.texts
    assert (held_out.name, also.name) == ("held-out documents", "topics.txt")
    assert held_out.untrained == pytest.approx(np.log(300), abs=0.1)
    assert held_out.trained < held_out.untrained - 0.5
    assert also.trained < also.untrained - 0.5


def test_what_was_seen_is_counted(result):
    assert (result.updates, result.tokens_seen, result.finished) == (40, 40 * 4 * 32, True)


def test_transformers_loads_model_and_tokenizer_and_finds_the_same_loss(result):
    model = AutoModelForCausalLM.from_pretrained(result.out)
    tokenizer = AutoTokenizer.from_pretrained(result.out)
    assert model.config.model_type == "gpt2"
    assert model.num_parameters() == result.parameters
    text = "The statement — naïve."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    token_ids = tokenizer("\n".join(python_topics()[:12]), return_tensors="pt")["input_ids"][:, : 32 * 300]
    assert mean_loss(model, token_ids.reshape(-1, 32).numpy()) == pytest.approx(result.texts[1].trained, abs=0.1)


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not(result, text: Path, tmp_path: Path):
    again = weights(pretrain(tiny(text, tmp_path / "again")).out)
    other = weights(pretrain(replace(tiny(text, tmp_path / "other"), seed=1)).out)
    assert all(torch.equal(again[name], tensor) for name, tensor in weights(result.out).items())
    assert not torch.equal(again["transformer.wte.weight"], other["transformer.wte.weight"])


def test_torchs_global_generator_is_left_alone(text: Path, tmp_path: Path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pretrain(replace(tiny(text, tmp_path), updates=1))
    assert torch.equal(torch.rand(3), expected)


def test_the_card_says_what_it_is_made_of_and_names_no_folder(result):
    card = (result.out / "README.md").read_text(encoding="utf-8")
    for fact in (
        f"{result.parameters:,} parameters",
        "topics.txt",
        "Python's own",
        result.corpus.sha256,
        f"{result.texts[0].trained:.3f}",
        f"{result.texts[0].untrained:.3f}",
        "lamo-train pretrain --text topics.txt",
        "seed 0",
    ):
        assert fact in card
    assert str(result.out.parent) not in card


def test_a_time_budget_ends_the_run_and_its_schedule(text: Path, tmp_path: Path):
    result = pretrain(replace(tiny(text, tmp_path), updates=None, minutes=0.01))
    assert result.finished
    assert result.updates >= 1
    assert result.seconds < 10


def test_an_interruption_keeps_what_has_been_learned(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    update = pretraining._update
    calls = []

    def interrupted_after_three(*args):
        calls.append(args)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return update(*args)

    monkeypatch.setattr(pretraining, "_update", interrupted_after_three)
    result = pretrain(tiny(text, tmp_path))
    assert (result.updates, result.finished) == (3, False)
    assert weights(tmp_path)
    assert "stopped before the end" in (tmp_path / "README.md").read_text()


def test_an_interrupted_command_ends_with_130_and_says_where_what_was_learned_is(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def interrupted(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(pretraining, "_update", interrupted)
    options = f"--text {text} --out {tmp_path} --updates 1 --layers 1 --width 16 --context 32 --vocab-size 300"
    with pytest.raises(SystemExit) as ending:
        cli.main(["pretrain", *options.split()])
    assert ending.value.code == 130
    assert f"what was learned is saved in {tmp_path}" in capsys.readouterr().err


def test_it_saves_while_it_runs(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def killed(*_args):
        raise MemoryError

    monkeypatch.setattr(pretraining.tqdm, "write", killed)  # called right after a save
    with pytest.raises(MemoryError):
        pretrain(replace(tiny(text, tmp_path), save_minutes=1e-9))
    assert weights(tmp_path)


def test_a_learning_rate_that_overflows_is_named(text: Path, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"learning_rate 1e\+30 is too high"):
        pretrain(replace(tiny(text, tmp_path), learning_rate=1e30))


def test_a_missing_text_is_named(tmp_path: Path):
    with pytest.raises(DatasetError, match=r"text file .*nowhere\.txt does not exist"):
        pretrain(tiny(tmp_path / "nowhere.txt", tmp_path / "out"))


def test_a_missing_text_to_evaluate_on_is_named_before_anything_is_written(text: Path, tmp_path: Path):
    config = replace(tiny(text, tmp_path / "out"), also_evaluate=(tmp_path / "nowhere.txt",))
    with pytest.raises(DatasetError, match=r"text file .*nowhere\.txt does not exist"):
        pretrain(config)
    assert not (tmp_path / "out").exists()


def test_a_text_too_short_to_hold_anything_out_is_refused(tmp_path: Path):
    (tmp_path / "short.txt").write_text("a few words, no more than that")
    with pytest.raises(DatasetError, match=r"held-out documents: \d+ tokens to evaluate on, one block takes 32"):
        pretrain(tiny(tmp_path / "short.txt", tmp_path / "out"))


def test_a_file_in_the_place_of_the_folder_is_refused_before_training(text: Path, tmp_path: Path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="out cannot be made"):
        pretrain(tiny(text, tmp_path / "out"))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"updates": None}, "a number of updates, of minutes, or both"),
        ({"heads": 3}, "width 16 cannot be divided among 3 heads"),
        ({"heads": 0}, "heads is 0, it must be above 0"),
        ({"threads": 0}, "threads is 0, it must be above 0"),
        ({"seed": -1}, "seed is -1, it must be at least 0"),
        ({"updates": 0}, "updates is 0, it must be above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"held_out_share": 1.0}, "held_out_share is 1.0"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused(text: Path, tmp_path: Path, change, sentence: str):
    with pytest.raises(ConfigError, match=sentence):
        replace(tiny(text, tmp_path), **change)


def test_whole_documents_are_held_out_and_none_is_lost():
    documents = [f"document {index}" for index in range(50)]
    kept, held_out = split_documents(documents, 0.1, np.random.default_rng(0))
    assert (len(held_out), sorted(kept + held_out)) == (5, sorted(documents))


def test_the_end_of_a_lone_document_is_held_out():
    assert split_documents(["0123456789"], 0.2, np.random.default_rng(0)) == (["01234567"], ["89"])


def test_the_learning_rate_warms_up_and_falls_to_zero(text: Path, tmp_path: Path):
    config = tiny(text, tmp_path)
    rates = [learning_rate_at(config, update, update / 40) for update in range(41)]
    assert rates[:5] == sorted(rates[:5])
    assert max(rates) == pytest.approx(config.learning_rate, rel=0.1)
    assert rates[40] == pytest.approx(0)


def test_the_options_of_the_command_line_become_the_config(tmp_path: Path):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert config_from(parser.parse_args(["--out", "lm", "--updates", "7"])) == PretrainConfig(
        text=(), out=Path("lm"), updates=7
    )
    options = ["--text", "a.txt", "b.txt", "--out", "lm", "--minutes", "1.5", "--vocab-size", "999"]
    assert config_from(parser.parse_args(options)) == PretrainConfig(
        text=(Path("a.txt"), Path("b.txt")), out=Path("lm"), minutes=1.5, vocab_size=999
    )


def test_the_command_shows_the_card_it_wrote(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = f"--text {text} --out {tmp_path} --updates 1 --layers 1 --width 16 --context 32 --vocab-size 300"
    run(parser.parse_args(options.split()))
    assert capsys.readouterr().out == (tmp_path / "README.md").read_text(encoding="utf-8")
