// Answers a request without looking at its body; the path is the status: `node refusing.js PORT`.
const http = require("node:http");

const server = http.createServer((request, response) => {
  response.writeHead(Number(request.url.slice(1)) || 200, { "Content-Length": 2 });
  response.end("ok");
});
server.listen(Number(process.argv[2]), "127.0.0.1");
