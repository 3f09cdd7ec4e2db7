# The server with the packages that it needs to run. The image has no development packages and runs without root, also
# on a read-only file system. It writes only to /data. See docs/DEPLOY.md.
FROM node:22-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY . .
# The files of the image are those of the package; `npm pack` builds them.
RUN npm pack --pack-destination /tmp \
  && mkdir /kredichat && tar -xzf /tmp/kredichat-*.tgz -C /kredichat --strip-components=1 \
  && npm prune --omit=dev && mv node_modules /kredichat/ && chmod +x /kredichat/dist/main.js

FROM node:22-slim
COPY --from=build /kredichat /kredichat
RUN ln -s /kredichat/dist/main.js /usr/local/bin/kredichat && install -d -o 1000 -g 1000 -m 700 /data
ENV NODE_ENV=production HOST=0.0.0.0 PORT=4000 STORE_URL=sqlite:/data/kredichat.db
WORKDIR /data
VOLUME /data
EXPOSE 4000
# The user `node` of the base image, as a number: Kubernetes checks that it is not root.
USER 1000:1000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/healthz`).then(({ ok }) => process.exit(ok ? 0 : 1))"]
ENTRYPOINT ["kredichat"]
CMD ["serve"]
