/**
 * Prints the spans of a server. `npx tsx --import ./examples/tracing.ts dist/main.js`
 *
 * In production, replace the exporter by `OTLPTraceExporter` of `@opentelemetry/exporter-trace-otlp-http` in a
 * `BatchSpanProcessor`, and keep a part of the traces with a `TraceIdRatioBasedSampler`.
 */
import { ConsoleSpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';

// It also follows asynchronous calls, and reads `traceparent`.
new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new ConsoleSpanExporter())] }).register();
