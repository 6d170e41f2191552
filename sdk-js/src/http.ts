/** HTTP through the host's broker, which checks each request against the grant and puts the secrets in. */

import { Failed } from "./errors.js";
import { partAt } from "./frames.js";
import type { Host } from "./host.js";
import { toBytes, toText } from "./text.js";

/** What a request may have besides its method and address. */
export interface RequestOptions {
  headers?: Record<string, string>;
  /** Text or bytes as they are; everything else is sent as JSON. */
  body?: unknown;
  /** Seconds. */
  timeout?: number;
}

/** Sends requests. Each call waits for its answer: there is nothing to `await`. */
export interface Http {
  request(method: string, url: string, options?: RequestOptions): HttpResponse;
  get(url: string, options?: RequestOptions): HttpResponse;
  post(url: string, body: unknown, options?: RequestOptions): HttpResponse;
}

/** An answer. */
export class HttpResponse {
  readonly status: number;
  /** By their names in lower case. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;

  constructor(status: number, headers: Record<string, string>, body: Uint8Array) {
    this.status = status;
    this.headers = Object.fromEntries(Object.entries(headers).map(([name, text]) => [name.toLowerCase(), text]));
    this.body = body;
  }

  /** Whether the status is 2xx. */
  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  /** The body as text. */
  text(): string {
    return toText(this.body);
  }

  /** The body's JSON. Throws Failed `http.json` for anything else. */
  json(): unknown {
    try {
      return JSON.parse(this.text()) as unknown;
    } catch (error) {
      throw new Failed("http.json", `an answer of status ${this.status} is not JSON`, { cause: String(error) });
    }
  }
}

/** The broker of a host. */
export function brokered(host: Host): Http {
  const request = (method: string, url: string, options: RequestOptions = {}): HttpResponse => {
    const { body, timeout, headers = {} } = options;
    const isJson = body !== undefined && typeof body !== "string" && !(body instanceof Uint8Array);
    const untold = !Object.keys(headers).some((name) => name.toLowerCase() === "content-type");
    const sent = isJson && untold ? { "content-type": "application/json", ...headers } : headers;
    const part = body === undefined ? [] : [bytesOf(body)];
    const answer = host.ask(
      "http",
      { method, url, headers: sent, ...(timeout !== undefined && { timeout }), ...(part.length > 0 && { part: 0 }) },
      part,
    );
    const { status, headers: told, part: index } = answer.header;
    const content = index === undefined || index === null ? new Uint8Array() : partAt(answer, index).slice();
    return new HttpResponse(Number(status), (told ?? {}) as Record<string, string>, content);
  };
  return {
    request,
    get: (url, options) => request("GET", url, options),
    post: (url, body, options) => request("POST", url, { ...options, body }),
  };
}

function bytesOf(body: unknown): Uint8Array {
  return body instanceof Uint8Array ? body : toBytes(typeof body === "string" ? body : JSON.stringify(body));
}
