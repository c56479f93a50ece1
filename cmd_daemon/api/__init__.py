"""The gRPC API: services that read from the store and put a person's wishes into the engine's inbox."""
