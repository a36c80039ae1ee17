"""Evaluation: many episodes of a Gymnasium environment played against a service, and what came of them."""

from __future__ import annotations

import json

from clients.encoding import Encoding
from clients.evaluation_config import EvaluationConfig
from clients.figure import draw_returns
from clients.policy_client import AsyncPolicyClient, PolicyClient
from clients.progress import Progress
from clients.remote_agent import RemoteAgent
from clients.simulator import simulator
from lamo.errors import ConfigError, SimulatorError
from lamo.evaluation import Score, ScoreSummary, plans, scores_of, summarize, table, write_scores, write_traces
from lamo.rollout import EpisodePlan, EpisodeResult, play
from lamo.scores import ReferenceReturns
from lamo.wire import EpisodeState, PolicyInfo

FIRST_CONTACT_SECONDS = 5.0
"""A service that is not there at the very start is a wrong address more often than a restart."""

SCORES, FIGURE, TRACES, SETTINGS = "scores.csv", "returns.png", "traces.npz", "evaluation.json"


class Evaluation:
    """One batch evaluation. Whatever cuts `play` off, the episodes played by then can be written.

    Attributes:
        config: what was asked for.
        policy: what plays, as the service describes it.
        planned: the episodes to be played.
        results: those that were played, by plan, in the order in which they ended.
    """

    def __init__(self, config: EvaluationConfig, policy: PolicyInfo) -> None:
        self.config = config
        self.policy = policy
        self.planned = plans(config.target_returns or policy.target_returns, config.episodes, config.seed)
        self.results: dict[EpisodePlan, EpisodeResult] = {}
        self._started: dict[int, EpisodeState] = {}

    @classmethod
    def prepare(cls, config: EvaluationConfig) -> Evaluation:
        """The evaluation of a policy that is served now.

        Raises:
            ServiceError: the service does not answer within a few seconds, or does not serve this policy.
            ConfigError: the address, the number of episodes or the seed cannot be used.
        """
        deadline = min(config.deadline_seconds, FIRST_CONTACT_SECONDS)
        with PolicyClient(
            config.url, deadline_seconds=deadline, api_key=config.api_key, ca_file=config.ca_file
        ) as client:
            return cls(config, client.policy(config.policy))

    def play(self) -> None:
        """Play every planned episode, with a progress bar on a terminal.

        Raises:
            SimulatorError: the environment cannot be made or does not fit the policy.
            ConfigError: the results could not be written where they are to go.
            ServiceError: a call failed for good, or for longer than its deadline.
        """
        make_environment = simulator(self._environment_id(), self.policy)
        self._make_folder()
        client = AsyncPolicyClient(
            self.config.url,
            deadline_seconds=self.config.deadline_seconds,
            encoding=Encoding.MSGPACK,
            api_key=self.config.api_key,
            ca_file=self.config.ca_file,
        )
        with RemoteAgent(client, self._pinned_policy()) as agent, Progress(len(self.planned)) as progress:
            self._started = agent.started

            def keep(result: EpisodeResult) -> None:
                self.results[result.plan] = result
                progress.episode()

            play(
                agent,
                make_environment,
                self.planned,
                parallel=self.config.parallel,
                max_timesteps=self.policy.max_timesteps,
                observation_dtype=self.policy.observation.dtype,
                traces=self.config.traces,
                on_step=progress.steps,
                on_episode=keep,
            )

    def scores(self) -> list[Score]:
        """One row per episode played, in the order of the plans; each names the revision that played it."""
        rows: list[Score] = []
        for index, plan in enumerate(self.planned):
            if plan in self.results:
                state = self._started[index]
                rows += scores_of(
                    [self.results[plan]],
                    task=self.policy.task,
                    policy=self.policy.name,
                    revision=state.revision,
                    hop=state.hop,
                    reference=self._reference,
                )
        return rows

    def write(self) -> None:
        """Write scores, picture and settings, and traces if they were kept, of the episodes played so far."""
        scores, out = self.scores(), self.config.out
        write_scores(out / SCORES, scores)
        draw_returns(out / FIGURE, scores, self._reference)
        if self.config.traces:
            write_traces(out / TRACES, [self.results[plan] for plan in self.planned if plan in self.results])
        settings = {**self.config.to_json(), "environment": self._environment_id()}
        settings["revision"] = self.policy.revision
        settings["target_returns"] = list(self.config.target_returns or self.policy.target_returns)
        (out / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    def report(self) -> str:
        """The scores per target return as text, then the best target and the mean over the targets."""
        summaries = summarize(self.scores())
        best = max(summaries, key=lambda summary: summary.mean_return)
        lines = [table(summaries), f"best target   {best.target_return:g}: {_words([best])}"]
        return "\n".join([*lines, f"mean of {len(summaries)} targets: {_words(summaries)}"])

    @property
    def _reference(self) -> ReferenceReturns | None:
        known = self.policy.reference_returns
        return None if known is None else ReferenceReturns(known.random, known.expert)

    def _environment_id(self) -> str:
        environment_id = self.config.environment or self.policy.environment
        if environment_id is None:
            raise SimulatorError(f"policy {self.policy.name!r} names no environment: choose one with --env")
        return environment_id

    def _pinned_policy(self) -> str:
        """All episodes play one revision, even if the service is given a newer one meanwhile."""
        return f"{self.policy.name}@{self.policy.revision}"

    def _make_folder(self) -> None:
        try:
            self.config.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"folder {self.config.out} cannot be made: {error.strerror}") from error


def _words(summaries: list[ScoreSummary]) -> str:
    """Mean return and mean normalized score over the targets."""
    mean_return = sum(summary.mean_return for summary in summaries) / len(summaries)
    scores = [summary.mean_score for summary in summaries if summary.mean_score is not None]
    words = f"return {mean_return:.1f}"
    return f"{words}, normalized score {sum(scores) / len(scores):.1f}" if scores else words
