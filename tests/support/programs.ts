/**
 * The programs of tests/vm/programs_test.ts: what is run on the two ends, and what must come out.
 *
 * @module
 */

/** A program, by what is run on the server and on the client. */
export interface Program {
  readonly name: string;
  /** Run on the server to its end, first. */
  readonly prepare?: string;
  /** Left running on the server, and killed afterwards; a server that goes into the background is started by `prepare`. */
  readonly serve?: string;
  /** The server listens on this TCP port when it is ready. */
  readonly port: number;
  /** Run on the client, one after another; SERVER is the server's address. Each must end well and give this. */
  readonly asks: readonly { readonly run: string; readonly gives: RegExp | string }[];
  /** Run on the server at last. */
  readonly stop?: string;
}

const MANAGER = `
import sys
from multiprocessing.managers import BaseManager
class Counter:
    def __init__(self): self.n = 0
    def add(self, n): self.n += n; return self.n
counter = Counter()
class Manager(BaseManager): pass
Manager.register("counter", callable=lambda: counter)
if sys.argv[1] == "serve":
    Manager(("", 6000), authkey=b"secret").get_server().serve_forever()
else:
    manager = Manager((sys.argv[1], 6000), authkey=b"secret")
    manager.connect()
    shared = manager.counter()
    for n in range(100): shared.add(n)
    print(shared.add(0))
`;

const ASYNCIO = `
import asyncio, os, sys
async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
async def serve():
    async with await asyncio.start_server(echo, "", 7000) as server: await server.serve_forever()
async def one():
    reader, writer = await asyncio.open_connection(sys.argv[1], 7000)
    sent = os.urandom(100_000)
    writer.write(sent)
    writer.write_eof()
    got = await reader.read(-1)
    writer.close()
    return got == sent
async def ask(): print(sum(await asyncio.gather(*(one() for _ in range(50)))))
asyncio.run(serve() if sys.argv[1] == "serve" else ask())
`;

const NODE_SERVER = `require("http").createServer((q, r) => {
  let n = 0; q.on("data", (d) => n += d.length); q.on("end", () => r.end(q.method + " " + n));
}).listen(8090)`;

const NODE_CLIENT = `(async () => {
  const all = await Promise.all(Array.from({ length: 20 }, (_, i) =>
    fetch("http://" + process.argv[1] + ":8090/", { method: "POST", body: "x".repeat(i * 10000) }).then((r) => r.text())));
  console.log(all.at(-1), new Set(all).size);
})()`;

/** A file of 4 MB whose content is known. */
const FILE = "yes csvn | head -c 4000000";

/** A heredoc. */
const file = (path: string, text: string): string => `cat >${path} <<'END_OF_FILE'\n${text}\nEND_OF_FILE\n`;

/** All of them, in the order of docs/programs.md. */
export const PROGRAMS: readonly Program[] = [
  {
    name: "nginx, curl, wrk",
    prepare: `${FILE} >/var/www/html/file; nginx`,
    port: 80,
    asks: [
      { run: "curl -sSf http://SERVER/file | cksum", gives: /^\d+ 4000000\n$/ },
      { run: "curl -sSf -r 3999995- http://SERVER/file", gives: "csvn\n" },
      { run: "wrk -t 2 -c 16 -d 3 http://SERVER/", gives: /^(?!.*Socket errors).*Requests\/sec: +[1-9]/s },
    ],
    stop: "nginx -s stop",
  },
  {
    name: "redis-server, redis-benchmark",
    prepare: "redis-server --daemonize yes --protected-mode no --save '' >/dev/null",
    port: 6379,
    asks: [
      { run: "redis-cli -h SERVER set key value && redis-cli -h SERVER get key", gives: "OK\nvalue\n" },
      {
        run: "redis-benchmark -h SERVER -n 1000 -c 20 -q -t set,get,lpush",
        gives: /LPUSH: [0-9.]+ requests per second/,
      },
      { run: "redis-benchmark -h SERVER -n 2000 -c 5 -P 16 -q -t get", gives: /GET: [0-9.]+ requests per second/ },
    ],
    stop: "redis-cli shutdown",
  },
  {
    name: "PostgreSQL, pgbench",
    // The cluster that the package has made, with another configuration.
    prepare: "echo 'host all all 10.77.0.0/16 trust' >/tmp/hba; cd /; chown postgres /tmp/hba; " +
      "mkdir -p /run/postgresql; chown postgres /run/postgresql; " +
      "setpriv --reuid postgres --regid postgres --init-groups /usr/lib/postgresql/*/bin/pg_ctl -w -t 100 -l /tmp/pg.log " +
      "-D /etc/postgresql/*/main -o \"-F -c listen_addresses='*' -c hba_file=/tmp/hba -c shared_buffers=16MB\" start",
    port: 5432,
    asks: [
      { run: "pgbench -h SERVER -U postgres -i -q -s 1 postgres", gives: /done in/ },
      {
        run: "pgbench -h SERVER -U postgres -c 4 -t 25 postgres",
        gives: /actually processed: 100\/100\n.*failed transactions: 0 /s,
      },
      { run: "pgbench -h SERVER -U postgres -C -S -c 2 -t 10 postgres", gives: /actually processed: 20\/20/ },
      { run: "psql -h SERVER -U postgres -Atc 'select count(*) from pgbench_accounts' postgres", gives: "100000\n" },
    ],
    stop: "pkill -INT -o postgres",
  },
  {
    name: "memcached",
    serve: "exec memcached -u nobody -l 0.0.0.0 -U 11211",
    port: 11211,
    asks: [
      {
        run: "printf 'set k 0 0 5\\r\\nhello\\r\\nget k\\r\\nquit\\r\\n' | socat -t 120 - TCP:SERVER:11211",
        gives: "STORED\r\nVALUE k 0 5\r\nhello\r\nEND\r\n",
      },
      {
        run:
          "exec 3<>/dev/udp/SERVER/11211; printf '\\0\\1\\0\\0\\0\\1\\0\\0get k\\r\\n' >&3; timeout 120 head -c 33 <&3 | tail -c +9",
        gives: "VALUE k 0 5\r\nhello\r\nEND\r\n",
      },
    ],
  },
  {
    name: "dropbear, ssh, scp",
    prepare: "mkdir -p /root/.ssh /etc/dropbear; dropbearkey -t ed25519 -f /tmp/key >/dev/null; " +
      "dropbearconvert dropbear openssh /tmp/key /tmp/id 2>/dev/null; chmod 600 /tmp/id; " +
      "dropbearkey -y -f /tmp/key | grep ssh- >/root/.ssh/authorized_keys; chmod -R go= /root/.ssh; chown -R root:root /root; " +
      "mkdir -p /var/www/html; cp /tmp/id /var/www/html/id; chmod 644 /var/www/html/id; nginx",
    serve: "exec dropbear -F -E -R -p 22 2>/tmp/dropbear.log",
    port: 22,
    asks: [
      { run: "curl -sSf -o /tmp/id http://SERVER/id && chmod 600 /tmp/id", gives: "" },
      { run: "ssh -i /tmp/id -o StrictHostKeyChecking=no -o LogLevel=ERROR root@SERVER hostname", gives: "server\n" },
      {
        run:
          `${FILE} >/tmp/file && scp -O -i /tmp/id -o StrictHostKeyChecking=no /tmp/file root@SERVER:/tmp/there && ` +
          "scp -O -i /tmp/id -o StrictHostKeyChecking=no root@SERVER:/tmp/there /tmp/back && cmp /tmp/file /tmp/back",
        gives: /^/,
      },
    ],
    stop: "nginx -s stop",
  },
  {
    name: "python3 -m http.server",
    prepare: `mkdir -p /tmp/www && ${FILE} >/tmp/www/file`,
    serve: "exec python3 -m http.server -d /tmp/www 8000 2>/dev/null",
    port: 8000,
    asks: [{
      run:
        "python3 -c 'import sys, urllib.request; print(len(urllib.request.urlopen(sys.argv[1]).read()))' http://SERVER:8000/file",
      gives: "4000000\n",
    }],
  },
  {
    name: "python3 asyncio",
    prepare: file("/tmp/async.py", ASYNCIO),
    serve: "exec python3 /tmp/async.py serve",
    port: 7000,
    asks: [{ run: `${file("/tmp/async.py", ASYNCIO)}python3 /tmp/async.py SERVER`, gives: "50\n" }],
  },
  {
    name: "python3 multiprocessing.managers",
    prepare: file("/tmp/manager.py", MANAGER),
    serve: "exec python3 /tmp/manager.py serve",
    port: 6000,
    asks: [{ run: `${file("/tmp/manager.py", MANAGER)}python3 /tmp/manager.py SERVER`, gives: "4950\n" }],
  },
  {
    name: "Node.js: http, fetch",
    serve: `exec node -e '${NODE_SERVER}'`,
    port: 8090,
    asks: [{ run: `node -e '${NODE_CLIENT}' SERVER`, gives: "POST 190000 20\n" }],
  },
  {
    name: "Go: caddy, hey",
    prepare: `mkdir -p /tmp/www && ${FILE} >/tmp/www/file`,
    serve: "exec caddy file-server --root /tmp/www --listen :8088 2>/tmp/caddy.log",
    port: 8088,
    asks: [
      { run: "curl -sSf http://SERVER:8088/file | wc -c", gives: "4000000\n" },
      { run: "hey -n 200 -c 10 http://SERVER:8088/file", gives: /\[200\]\s+200 responses/ },
    ],
  },
  {
    name: "a static Go program: http",
    serve: "exec /tmp/http serve 8089",
    port: 8089,
    asks: [{ run: "/tmp/http ask http://SERVER:8089/ 40", gives: "all answered\n" }],
  },
  {
    name: "Java: HttpServer, HttpClient",
    serve: "exec java -Xshare:auto -XX:TieredStopAtLevel=1 /tmp/Http.java serve 8087",
    port: 8087,
    asks: [{
      run: "java -Xshare:auto -XX:TieredStopAtLevel=1 /tmp/Http.java ask http://SERVER:8087/ 20",
      gives: "all answered\n",
    }],
  },
  {
    name: "iperf3",
    serve: "exec iperf3 -s >/dev/null",
    port: 5201,
    asks: [
      { run: "iperf3 -c SERVER -t 2 -P 4 -J | grep -c '\"error\"' || true", gives: "0\n" },
      // The server closes its listener after a test, and resets who has connected meanwhile.
      { run: "sleep 2; iperf3 -c SERVER -n 50M -R", gives: /iperf Done/ },
    ],
  },
  {
    name: "rsync",
    prepare: `mkdir -p /tmp/tree/a/b && ${FILE} >/tmp/tree/a/file && cp -r /etc /tmp/tree/a/b && ` +
      "printf '[tree]\\npath=/tmp/tree\\nuse chroot=no\\nuid=0\\ngid=0\\n' >/tmp/rsyncd.conf",
    serve: "exec rsync --daemon --no-detach --config=/tmp/rsyncd.conf",
    port: 873,
    asks: [
      { run: "rsync -a rsync://SERVER/tree/ /tmp/tree/ && stat -c %s /tmp/tree/a/file", gives: "4000000\n" },
      { run: "rsync -an --checksum --itemize-changes rsync://SERVER/tree/ /tmp/tree/", gives: "" },
    ],
  },
  {
    name: "git clone over http",
    prepare: "rm -rf /tmp/repo; git init -q -b main /tmp/repo && cd /tmp/repo && cp -r /etc/nginx . && git add . && " +
      "git -c user.name=t -c user.email=t@t commit -qm one && rm -rf /var/www/html/repo.git && " +
      "git clone -q --bare /tmp/repo /var/www/html/repo.git && git -C /var/www/html/repo.git update-server-info && nginx",
    port: 80,
    asks: [
      {
        run: "rm -rf /tmp/repo && git clone -q http://SERVER/repo.git /tmp/repo && git -C /tmp/repo log --format=%s",
        gives: "one\n",
      },
      { run: "git -C /tmp/repo fsck && ls /tmp/repo/nginx | grep -c nginx.conf", gives: /^1$/m },
    ],
    stop: "nginx -s stop",
  },
  {
    name: "socat",
    serve: "exec socat -t 120 TCP-LISTEN:7001,reuseaddr,fork 'SYSTEM:wc -c; echo done'",
    port: 7001,
    asks: [{ run: "head -c 1000000 /dev/zero | socat -t 60 - TCP:SERVER:7001", gives: "1000000\ndone\n" }],
  },
];
