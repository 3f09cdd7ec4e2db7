import {
  context,
  ProxyTracer,
  propagation,
  type Span,
  type SpanContext,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';

// Spans carry names of operations, of commands of the store and of errors; never a text, an address, an id or a token.
const tracer = trace.getTracer('kredichat');

/** Whether an SDK receives spans. It has to be registered before the server is loaded: `node --import`. */
const isTraced = !(tracer instanceof ProxyTracer);

interface SpanOptions {
  /** W3C `traceparent` of the caller, as received: it becomes the parent if it is valid. */
  readonly traceparent?: unknown;
  /** The span begins a trace of its own, with a link to this one. */
  readonly link?: SpanContext | undefined;
}

/**
 * Runs `work` in a span: a child of `traceparent`, else of the active span. The span ends with the work, or with its
 * promise. Without an SDK it only runs `work`.
 */
export function inSpan<Result>(name: string, work: (span?: Span) => Result, options: SpanOptions = {}): Result {
  if (!isTraced) return work();
  const { traceparent, link } = options;
  const active = context.active();
  const parent = typeof traceparent === 'string' ? propagation.extract(active, { traceparent }) : active;
  const links = link && { root: true, links: [{ context: link }] };
  return tracer.startActiveSpan(name, { ...links }, parent, (span) => {
    const fail = (error: unknown): never => {
      recordError(span, error instanceof Error ? error.constructor.name : 'Error');
      span.end();
      throw error;
    };
    try {
      const result = work(span);
      if (!(result instanceof Promise)) {
        span.end();
        return result;
      }
      const end = (value: unknown) => {
        span.end();
        return value;
      };
      return result.then(end, fail) as Result;
    } catch (error) {
      return fail(error);
    }
  });
}

/** Marks a span as failed. @param type a code of the API or the name of a class */
export function recordError(span: Span | undefined, type: string): void {
  span?.setAttribute('error.type', type).setStatus({ code: SpanStatusCode.ERROR });
}

/** The active span, to link others to it; undefined without an SDK. */
export function activeSpan(): SpanContext | undefined {
  return isTraced ? trace.getActiveSpan()?.spanContext() : undefined;
}

/** Gives calls of an object's methods a span, `NAME.METHOD`. Without an SDK it returns the object itself. */
export function traceCalls<Port extends object>(name: string, port: Port, except: readonly (keyof Port)[]): Port {
  if (!isTraced) return port;
  const traced = ([method, call]: [string, (...args: unknown[]) => unknown]) => [
    method,
    (...args: unknown[]) => inSpan(`${name}.${method}`, () => call(...args)),
  ];
  const methods = Object.entries(port).filter(([method]) => !except.includes(method as keyof Port));
  return { ...port, ...Object.fromEntries(methods.map(traced)) };
}
