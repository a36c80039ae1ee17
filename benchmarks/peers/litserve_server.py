"""The policy behind LitServe: `LitAPI(max_batch_size, batch_timeout)`, one worker, which keeps the windows."""

import litserve
from history import BATCH_LIMIT, HOST, History, Step, port

BATCH_WAIT_SECONDS = 0.003
"""Of 1, 3 and 10 ms the one with the most steps per second at 64 episodes; 0 would have an idle worker spin."""


class PolicyAPI(litserve.LitAPI):
    """Decodes, batches and answers steps."""

    def setup(self, device: str) -> None:
        """Load the policy in the worker."""
        self._history = History.open()

    def decode_request(self, request: Step) -> Step:
        """LitServe reads from this annotation what the route takes."""
        return request

    def batch(self, inputs: list[Step]) -> list[Step]:
        """The steps as they are: their windows make the tensor."""
        return inputs

    def predict(self, steps: list[Step]) -> list[list[float]]:
        """An action for each step."""
        return self._history.act(steps)

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        """One action for each step already."""
        return output

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        """The answer's JSON."""
        return {"action": output}


if __name__ == "__main__":
    api = PolicyAPI(max_batch_size=BATCH_LIMIT, batch_timeout=BATCH_WAIT_SECONDS, api_path="/act")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=300)
    server.run(host=HOST, port=port(), num_api_servers=1, generate_client_file=False, log_level="warning")
