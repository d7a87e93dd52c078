// The shop of the page in Node: quick answers, slow ones, and uploads that it takes whole.
const http = require("node:http");

const SLOW_MS = { "/slow": 1000, "/long": 4000 };

const server = http.createServer((request, response) => {
  let taken = 0;
  request.on("data", (piece) => { taken += piece.length; });
  request.on("end", () => {
    const body = `${process.env.BG_VERSION} took ${taken} of ${Number(request.headers["content-length"] || 0)}`;
    setTimeout(() => response.end(body), SLOW_MS[request.url] || 0);
  });
});

server.keepAliveTimeout = 75_000;
server.listen(Number(process.argv[2]), "127.0.0.1");
process.on("SIGTERM", () => {
  server.close();
  server.keepAliveTimeout = 1;
});
