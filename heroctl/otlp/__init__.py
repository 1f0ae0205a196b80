"""What is told by OpenTelemetry's protocol, OTLP over HTTP: imported by those processes only that are asked to."""
