"""The gRPC contract of the campaign-management daemon, generated from the .proto files beside this."""
