// Snapshots as they come; where a stream is refused or breaks, they are asked for instead.

const POLL = 3000;
const LOST_AFTER = 5000;
const AGAIN = 10000;

export function listen(onSnapshot, onConnection) {
  let last = 0;
  let polling = null;
  // One stream at a time, and one attempt at the next, however long the page is open.
  let events = null;
  let again = null;

  const take = (text) => {
    last = Date.now();
    onConnection("live", 0);
    onSnapshot(JSON.parse(text));
  };

  const poll = async () => {
    try {
      const answer = await fetch("snapshot.json", { signal: AbortSignal.timeout(10000) });
      if (answer.ok) take(await answer.text());
    } catch { /* said below, when it lasts */ }
  };

  const close = () => {
    events?.close();
    clearInterval(polling);
    clearTimeout(again);
    events = polling = again = null;
  };

  const open = () => {
    const stream = new EventSource("events");
    events?.close();
    events = stream;
    again = null;
    stream.onmessage = (event) => {
      clearInterval(polling);
      polling = null;
      take(event.data);
    };
    stream.onerror = () => {
      if (stream !== events) return;
      if (polling === null) polling = setInterval(poll, POLL);
      // Refused for good: the browser does not try again by itself.
      if (stream.readyState === EventSource.CLOSED && again === null) again = setTimeout(open, AGAIN);
    };
  };

  // While nobody looks the server need not make snapshots.
  document.addEventListener("visibilitychange", () => {
    close();
    if (document.visibilityState !== "hidden") open();
  });

  if (document.visibilityState !== "hidden") open();
  setInterval(() => {
    if (last && Date.now() - last > LOST_AFTER && document.visibilityState === "visible") {
      onConnection("lost", Math.round((Date.now() - last) / 1000));
    }
  }, 1000);
}
