"""The resources server: what NeMo-Gym asks at the end of each rollout."""

from typing import Any, ClassVar

from nemo_gym.base_resources_server import (
    BaseResourcesServerConfig,
    BaseVerifyRequest,
    BaseVerifyResponse,
    ReverifyMode,
    SimpleResourcesServer,
)

from autoif.verifier.reward import ascore


class InstructionServerConfig(BaseResourcesServerConfig):
    REVERIFY_MODE: ClassVar[ReverifyMode] = ReverifyMode.STATELESS


class InstructionRequest(BaseVerifyRequest):
    verifier_metadata: dict[str, Any]


class InstructionResponse(BaseVerifyResponse):
    verifier_metadata: dict[str, Any]


class InstructionServer(SimpleResourcesServer):
    config: InstructionServerConfig

    async def verify(self, body: InstructionRequest) -> InstructionResponse:
        """The share of the constraints that the last message meets. Where no function concluded,
        `mask_sample`: the rollout is left out."""
        messages = [item for item in body.response.output if item.type == "message"]
        content = [part.model_dump() for part in messages[-1].content] if messages else None
        answer = {"role": "assistant", "content": content}
        reward = await ascore(answer, body.verifier_metadata["verifiers"])
        return InstructionResponse(
            **body.model_dump(), reward=reward or 0.0, mask_sample=reward is None
        )


if __name__ == "__main__":
    InstructionServer.run_webserver()
