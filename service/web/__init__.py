"""Web: requests as they come over HTTP, who may send them, and answers as they leave. Loads no torch."""
