"""The Open Inference Protocol: tables and their networks for clients of Triton and KServe.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol and Triton's
extensions of it, https://github.com/triton-inference-server/server/tree/main/docs/protocol
"""
