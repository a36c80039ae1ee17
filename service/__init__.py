"""The policy-serving microservice: HTTP in front, Redis behind, one engine that owns the device."""
