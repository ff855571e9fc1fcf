"""Releases on a GPU: graphs without branches, TensorRT plans, buffers that stay on the device."""
