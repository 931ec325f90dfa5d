# A dkv node: the pinned Bun, the packages that running needs, src/. Everything else it needs is in /data, which belongs to
# uid 999; the root may be read-only. PID 1 is Bun itself, so SIGTERM reaches it and a writer hands over before it ends.

FROM node:22.16.0-bookworm-slim AS packages
WORKDIR /opt/dkv
COPY package.json package-lock.json ./
# Bun is one of them; its install script puts the program for this machine's processor in place.
RUN npm ci --omit=dev --no-audit --no-fund \
  && install -m 0755 "$(readlink -f node_modules/.bin/bun)" /usr/local/bin/bun \
  && rm -rf node_modules/bun node_modules/@oven node_modules/.bin

FROM debian:12.11-slim
# Files get mode 0600 and directories 0700 from the server, whatever the umask; a new volume takes this mode over.
RUN groupadd --system --gid 999 dkv \
  && useradd --system --uid 999 --gid dkv --home-dir /data --shell /usr/sbin/nologin dkv \
  && install -d -o dkv -g dkv -m 0700 /data
COPY --from=packages /usr/local/bin/bun /usr/local/bin/bun
COPY --from=packages /opt/dkv/node_modules /opt/dkv/node_modules
COPY package.json LICENSE /opt/dkv/
COPY src /opt/dkv/src
WORKDIR /opt/dkv
ENV DKV_DIR=/data DKV_HTTP_PORT=8080 DKV_COMMAND="bun src/main.ts" BUN_RUNTIME_TRANSPILER_CACHE_PATH=0
USER 999:999
VOLUME /data
EXPOSE 6379 16379 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["bun", "-e", "process.exit((await fetch(`http://127.0.0.1:${process.env.DKV_HTTP_PORT}/readyz`)).ok ? 0 : 1)"]
ENTRYPOINT ["bun", "src/main.ts"]
