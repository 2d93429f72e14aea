// No answer of the server is lost. Gradio's client asks by `queue/join` and reads all answers from one stream,
// `queue/data`, which the server closes when it owes none. A question that the server takes just after that, but whose
// receipt the client sees just before, would wait for ever on the closed stream, and its button would do nothing.
// Therefore the stream goes on here, unseen by the client, until every question with a receipt is answered.
(() => {
  const ask = window.fetch.bind(window);
  const GUARD_MS = 2000;
  const owed = new Set(), early = new Set(); // events with a receipt and without an answer, and the other way round
  let closed = Promise.resolve(), known = () => {};

  window.fetch = async (input, init) => {
    const { pathname } = new URL(input instanceof Request ? input.url : input, document.baseURI);
    if (pathname.endsWith("/queue/join")) return joined(await ask(input, init));
    // The client's last word on its answers is to abort the stream that it opened last, which may be an upload's.
    if (/\/(queue\/data|upload_progress)$/.test(pathname)) {
      (init ?? input).signal?.addEventListener("abort", () => known(), { once: true });
    }
    return pathname.endsWith("/queue/data") ? data(new Request(input, init)) : ask(input, init);
  };

  async function joined(receipt) {
    if (receipt.ok) {
      const { event_id } = await receipt.clone().json();
      if (!early.delete(event_id)) owed.add(event_id);
    }
    await closed;
    return receipt;
  }

  async function data(request) {
    const first = await ask(request);
    if (!first.ok) return first;
    const answers = told(request, first);
    const body = new ReadableStream({
      async pull(stream) {
        const { value, done } = await answers.next();
        if (done) stream.close();
        else stream.enqueue(value);
      },
      cancel: () => answers.return(),
    });
    return new Response(body.pipeThrough(new TextEncoderStream()), first);
  }

  async function* told(request, response) {
    for (;;) {
      let ends = false;
      for await (const block of blocks(response)) {
        const message = block.startsWith("data: ") ? JSON.parse(block.slice("data: ".length)) : {}; // or a comment
        if (message.msg === "process_completed" && !owed.delete(message.event_id)) early.add(message.event_id);
        ends = message.msg === "close_stream";
        if (!ends) yield block;
      }
      if (!ends) return owed.clear(); // the server fails or is gone, which the client has been told
      if (!owed.size) break;
      response = await ask(request.clone());
    }
    closed = new Promise((resolve) => {
      known = resolve;
      setTimeout(resolve, GUARD_MS);
    });
    yield 'data: {"msg":"close_stream"}\n\n';
  }

  async function* blocks(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    try {
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        for (const part of parts) yield part + "\n\n";
      }
    } finally {
      await reader.cancel().catch(() => {});
    }
  }
})();
