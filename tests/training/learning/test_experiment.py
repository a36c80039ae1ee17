"""What a config decides before the first update."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lamo.errors import ConfigError, DatasetError, LanguageModelError
from training.data import hdf5
from training.data.trajectories import Trajectories
from training.learning.config import TrainConfig
from training.learning.experiment import Experiment

ConfigMaker = Callable[..., TrainConfig]


def _weights(experiment: Experiment) -> dict[str, torch.Tensor]:
    return experiment.model.state_dict()


def test_the_same_config_gives_the_same_network_and_the_same_batches(tiny_config: ConfigMaker) -> None:
    one, other = Experiment.prepare(tiny_config()), Experiment.prepare(tiny_config())
    assert all(torch.equal(tensor, _weights(other)[name]) for name, tensor in _weights(one).items())
    for _ in range(3):
        assert torch.equal(one.draw_batch().states, other.draw_batch().states)
        words, other_words = one.draw_token_ids(), other.draw_token_ids()
        assert words is not None
        assert other_words is not None
        assert torch.equal(words, other_words)


def test_preparing_leaves_the_global_generator_where_it_was(tiny_config: ConfigMaker) -> None:
    before = torch.get_rng_state()
    Experiment.prepare(tiny_config(random_init=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_gives_another_network_and_other_batches(tiny_config: ConfigMaker) -> None:
    one, other = Experiment.prepare(tiny_config()), Experiment.prepare(tiny_config(seed=1))
    assert not torch.equal(_weights(one)["embed_timestep.weight"], _weights(other)["embed_timestep.weight"])
    assert not torch.equal(one.draw_batch().actions, other.draw_batch().actions)


def test_the_random_control_differs_in_the_trunk_alone(tiny_config: ConfigMaker) -> None:
    pretrained = Experiment.prepare(tiny_config())
    control = Experiment.prepare(tiny_config(random_init=True))
    assert pretrained.trunk_sha256 != control.trunk_sha256
    different = {
        name for name, tensor in _weights(pretrained).items() if not torch.equal(tensor, _weights(control)[name])
    }
    assert different
    assert all(name.startswith("trunk.") and "lora" not in name for name in different)
    assert control.learner.parameters.keys() == pretrained.learner.parameters.keys()


def test_without_a_weight_for_it_no_text_is_trained_on(tiny_config: ConfigMaker) -> None:
    experiment = Experiment.prepare(tiny_config(language_loss_weight=0.0))
    assert experiment.text is None
    assert experiment.draw_token_ids() is None
    assert experiment.learner.words is None


def test_a_trunk_that_never_knew_language_needs_no_text(tiny_config: ConfigMaker) -> None:
    nowhere = {"language_loss_weight": 0.0, "text": (Path("nowhere.txt"),)}
    assert Experiment.prepare(tiny_config(random_init=True, **nowhere)).language_ability is None
    with pytest.raises(DatasetError, match=r"text file nowhere\.txt does not exist"):
        Experiment.prepare(tiny_config(**nowhere))


def test_a_language_model_without_tokenizer_is_trained_but_its_language_not_watched(
    tmp_path: Path, tiny_config: ConfigMaker, tiny_lm: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((tiny_lm / name).read_bytes())
    experiment = Experiment.prepare(tiny_config(lm=str(tmp_path), language_loss_weight=0.0, text=()))
    assert experiment.language_ability is None


def test_a_language_batch_is_two_blocks_of_the_models_context(tiny_config: ConfigMaker) -> None:
    words = Experiment.prepare(tiny_config()).draw_token_ids()
    assert words is not None
    assert words.shape == (2, 32)


def test_only_the_fixed_preset_gives_words_their_positions(tiny_config: ConfigMaker) -> None:
    fixed = Experiment.prepare(tiny_config()).learner.words
    paper = Experiment.prepare(tiny_config(preset="paper")).learner.words
    assert fixed is not None
    assert paper is not None
    assert fixed.wpe is not None
    assert fixed.wpe.shape == (32, 16)
    assert paper.wpe is None


def test_statistics_and_batches_come_from_the_drawn_trajectories_alone(
    tiny_config: ConfigMaker, tiny_trajectories: Trajectories
) -> None:
    experiment = Experiment.prepare(tiny_config(sample_ratio=0.6, hold_out=0.3, batch_size=200))
    assert (len(experiment.data.indices), len(experiment.data.held_out_indices)) == (3, 2)
    drawn = tiny_trajectories.subset(experiment.data.indices)
    observations = np.concatenate([trajectory.observations for trajectory in drawn])
    np.testing.assert_allclose(experiment.normalization.mean, observations.mean(axis=0), rtol=1e-5, atol=1e-6)
    batch = experiment.draw_batch()
    seen = {row.tobytes() for row in batch.actions[batch.attention_mask].numpy()}
    assert seen == {row.tobytes() for trajectory in drawn for row in trajectory.actions}


def test_a_batch_is_the_cut_scaled_and_normalized(tiny_config: ConfigMaker) -> None:
    experiment = Experiment.prepare(tiny_config())
    cuts = experiment.sampler.cut(np.array([0, 8]))
    batch = experiment.batch(cuts)
    assert batch.lengths.tolist() == [5, 1]
    np.testing.assert_array_equal(batch.attention_mask.numpy(), cuts.attention_mask)
    np.testing.assert_allclose(batch.returns_to_go[0, :, 0].numpy(), cuts.returns_to_go[0] / 10.0, rtol=1e-6)
    normalization = experiment.normalization
    expected = (cuts.observations[0] - normalization.mean) / normalization.std
    np.testing.assert_allclose(batch.states[0].numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("observations", r"observations of shape \[11\], task 'reacher2d' has \[12\]"),
        ("actions", r"actions of shape \[1\], task 'reacher2d' has \[2\]"),
        ("length", "an episode of 108 steps, task 'reacher2d' ends after 100"),
    ],
)
def test_data_of_another_task_is_refused(
    tmp_path: Path, tiny_config: ConfigMaker, tiny_trajectories: Trajectories, part: str, sentence: str
) -> None:
    first = tiny_trajectories[0]
    changed = {
        "observations": dataclasses.replace(first, observations=first.observations[:, 1:]),
        "actions": dataclasses.replace(first, actions=first.actions[:, 1:]),
        "length": dataclasses.replace(
            first,
            observations=np.tile(first.observations, (12, 1)),
            actions=np.tile(first.actions, (12, 1)),
            rewards=np.tile(first.rewards, 12),
        ),
    }[part]
    path = tmp_path / "other.hdf5"
    hdf5.write(path, Trajectories((changed,), name="other"), {})
    with pytest.raises(DatasetError, match=sentence):
        Experiment.prepare(tiny_config(dataset=path))


def test_a_device_this_machine_lacks_is_refused(tiny_config: ConfigMaker) -> None:
    with pytest.raises(ConfigError, match="device 'abacus' cannot be used"):
        Experiment.prepare(tiny_config(device="abacus"))


def test_a_language_model_that_is_not_there_is_refused(tiny_config: ConfigMaker, tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match="does not exist"):
        Experiment.prepare(tiny_config(lm=str(tmp_path / "nothing")))


def test_a_language_model_under_the_home_folder_is_found(
    tiny_config: ConfigMaker, tiny_lm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tiny_lm.parent))
    there = Experiment.prepare(tiny_config(lm=f"~/{tiny_lm.name}"))
    assert there.trunk_sha256 == Experiment.prepare(tiny_config()).trunk_sha256
