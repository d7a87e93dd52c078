#!/usr/bin/env bash
# nftables 1.0.6 (Debian 12), Linux 6.18: the first `redirect` rule on a host that tracked no connections before breaks the
# connections that are open. Whoever sends on one of them next has it reset, though the rule is in a chain of type nat.
#
# One would have guessed: nat chains see the first packet of a connection only, so what is open goes on where it was.
# Seen: the host begins to track connections when the rule is loaded. A packet of an open connection is then the first one
# that it sees, so it goes through the chain and is sent to the new port, where nobody knows of it. With a match on the
# first packet of a handshake, `tcp flags & (syn | ack) == syn`, the open connection goes on, and new ones are led over.
#
#   tcp dport 8000 redirect to :5004                                    open connection: reset; new one: new server
#   tcp flags & (syn | ack) == syn tcp dport 8000 redirect to :5004     open connection: old server; new one: new server
set -euo pipefail
for program in nft ip unshare nsenter python3; do
    command -v "$program" > /dev/null || { echo "$program is needed: apt-get install nftables iproute2 util-linux"; exit 1; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat > "$folder/client.py" <<'CLIENT'
import socket, sys


def said(connection):
    try:
        return connection.recv(100).decode() or "closed"
    except OSError as error:
        return type(error).__name__


opened = socket.create_connection(("10.9.0.1", 8000), timeout=5)
print("open", flush=True)
sys.stdin.readline()
opened.sendall(b"more")
print(said(opened), flush=True)
print(said(socket.create_connection(("10.9.0.1", 8000), timeout=5)), flush=True)
CLIENT

cat > "$folder/try.py" <<'TRY'
import socket, subprocess, sys, threading, time

folder, rule = sys.argv[1:]
other = subprocess.Popen(["unshare", "-n", "sleep", "30"])
time.sleep(0.3)
inside = ["nsenter", "-t", str(other.pid), "-n"]
here = ["ip link set lo up", "ip link add v0 type veth peer name v1", f"ip link set v1 netns {other.pid}"]
for line in (*here, "ip addr add 10.9.0.1/24 dev v0", "ip link set v0 up"):
    subprocess.run(line.split(), check=True)
for line in ("ip link set lo up", "ip addr add 10.9.0.2/24 dev v1", "ip link set v1 up"):
    subprocess.run([*inside, *line.split()], check=True)


def serve(port, word):
    listener = socket.create_server(("0.0.0.0", port))

    def answer():
        while True:
            connection = listener.accept()[0]
            if port == 8000:
                connection.recv(100)
            connection.sendall(word)

    threading.Thread(target=answer, daemon=True).start()


serve(8000, b"old server")
serve(5004, b"new server")
program = [*inside, sys.executable, f"{folder}/client.py"]
client = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
client.stdout.readline()
table = f"table ip t {{\nchain p {{\ntype nat hook prerouting priority dstnat;\n{rule}\n}}\n}}\n"
subprocess.run(["nft", "-f", "-"], input=table, text=True, check=True)
opened, new = client.communicate("\n", timeout=20)[0].split("\n")[:2]
print(f"open connection: {opened}; new one: {new}")
other.kill()
TRY

nft --version
uname -r
plain=$(unshare -rnm python3 "$folder/try.py" "$folder" "tcp dport 8000 redirect to :5004")
first=$(unshare -rnm python3 "$folder/try.py" "$folder" "tcp flags & (syn | ack) == syn tcp dport 8000 redirect to :5004")
echo "any packet:   $plain"
echo "first packet: $first"
[[ $plain == "open connection: ConnectionResetError; new one: new server" ]]
[[ $first == "open connection: old server; new one: new server" ]]
