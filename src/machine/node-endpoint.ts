/** A port or worker of node:worker_threads as comlink wants it: with the listeners and events of the web. */
import type { Endpoint } from "comlink";

/** The part of node:worker_threads' MessagePort and Worker that is used. */
export interface NodePort {
  postMessage(message: unknown, transfer?: readonly ArrayBuffer[]): void;
  on(event: "message", listener: (data: unknown) => void): unknown;
  off(event: "message", listener: (data: unknown) => void): unknown;
}

type Listener = Parameters<Endpoint["addEventListener"]>[1];

/** Messages only, the one event that comlink listens to. */
export function nodeEndpoint(port: NodePort): Endpoint {
  const heard = new Map<Listener, (data: unknown) => void>();
  return {
    postMessage: (message, transfer) => port.postMessage(message, transfer),
    addEventListener: (type, listener) => {
      if (type !== "message") return;
      const hear = (data: unknown): void =>
        typeof listener === "function" ? listener({ data }) : listener.handleEvent({ data });
      heard.set(listener, hear);
      port.on("message", hear);
    },
    removeEventListener: (_type, listener) => {
      const hear = heard.get(listener);
      if (hear !== undefined) port.off("message", hear);
      heard.delete(listener);
    },
  };
}
