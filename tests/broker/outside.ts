import { t, tool } from "@dataflare/sdk";

export const ask = tool({
  doc: "Asks a service.",
  input: t.Object({
    url: t.String(),
    method: t.String({ default: "GET" }),
    body: t.String({ default: "" }),
    headers: t.Record(t.String(), t.String(), { default: {} }),
  }),
  call: ({ url, method, body, headers }, _, ctx) => {
    const told = ctx.http.request(method, url, body === "" ? { headers } : { body, headers });
    return { status: told.status, text: told.text(), headers: told.headers };
  },
});

export const allOf = tool({
  doc: "All of an input, to its end.",
  input: t.Object({ name: t.String() }),
  call: ({ name }, _, ctx) => {
    const stream = ctx.input(name);
    let all = "";
    for (let given = stream.receive(10, 5); given !== null; given = stream.receive(10, 5)) {
      all += String.fromCharCode(...given);
    }
    return all;
  },
});
