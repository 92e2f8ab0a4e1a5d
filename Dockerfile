# The image of the agent, the proxy, their command line and the CNI plugin: docker build -t tandem .
# Programs are compiled here, once; what runs on a node has no compiler.

# Both are a Debian 12 with Node 20: others by --build-arg, as from a registry of one's own.
ARG BUILD_BASE=node:20-bookworm
ARG BASE=node:20-bookworm-slim

FROM $BUILD_BASE AS build
RUN apt-get update \
  && apt-get install -y --no-install-recommends clang-19 cmake g++ libbpf-dev libelf-dev libnghttp2-dev libre2-dev linux-libc-dev make \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY addon addon
COPY bpf bpf
RUN npm run build:bpf && npm run build:addon
# Last, since it changes most, and is what is built in a second.
COPY scripts scripts
COPY src src
RUN npm run build:js

FROM $BASE
# What the addon is linked to, and what shows and takes away rules that kube-proxy left. mount(8) is there already. What installs packages of
# JavaScript goes: nothing here needs it.
RUN apt-get update \
  && apt-get install -y --no-install-recommends ipset iptables ipvsadm libbpf1 libelf1 libnghttp2-14 libre2-9 nftables zlib1g \
  && rm -rf /var/lib/apt/lists/* /usr/local/lib/node_modules /opt/yarn-* \
  && rm -f /usr/local/bin/corepack /usr/local/bin/npm /usr/local/bin/npx /usr/local/bin/yarn /usr/local/bin/yarnpkg
WORKDIR /opt/tandem
COPY LICENSE package.json ./
COPY bin bin
COPY --from=build /src/dist dist
COPY --from=build /src/build/bpf/pod.bpf.o /src/build/bpf/network.bpf.o /src/build/bpf/sock.bpf.o /src/build/bpf/wire.bpf.o build/bpf/
COPY --from=build /src/build/addon/Release/tandem.node /src/build/addon/Release/tandem-cni build/addon/Release/
RUN for program in tandem tandem-agent tandem-operator tandem-proxy; do ln -s /opt/tandem/bin/$program.js /usr/local/bin/$program; done
# Root, since it enters the namespaces of pods and attaches programs; which of root's capabilities it gets the manifests say.
CMD ["tandem-agent"]
