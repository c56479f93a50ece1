"""Version 1 of the contract: messages in `*_pb2`, services in `*_pb2_grpc`."""
