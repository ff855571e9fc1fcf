// Snapshots as they come; where a stream is refused or breaks, they are asked for instead.

const POLL = 3000;
const LOST_AFTER = 5000;

export function listen(onSnapshot, onConnection) {
  let last = 0;
  let polling = null;

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

  const open = () => {
    const events = new EventSource("events");
    events.onmessage = (event) => {
      clearInterval(polling);
      polling = null;
      take(event.data);
    };
    events.onerror = () => {
      if (polling === null) polling = setInterval(poll, POLL);
      // Refused for good: the browser does not try again by itself.
      if (events.readyState === EventSource.CLOSED) setTimeout(open, 10000);
    };
    // Nobody looks: the server need not make snapshots.
    document.addEventListener("visibilitychange", function seen() {
      if (document.visibilityState === "hidden") {
        events.close();
        clearInterval(polling);
        polling = null;
      } else {
        document.removeEventListener("visibilitychange", seen);
        events.close();
        open();
      }
    });
  };

  open();
  setInterval(() => {
    if (last && Date.now() - last > LOST_AFTER && document.visibilityState === "visible") {
      onConnection("lost", Math.round((Date.now() - last) / 1000));
    }
  }, 1000);
}
