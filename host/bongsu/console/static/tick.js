// A clock of its own: browsers slow down the timers of a page that is not in front, but not those of a worker.
setInterval(() => postMessage(0), 500);
