"""The ONNX networks, and what goes into them and comes out of them."""
