# Debian's ZooKeeper, configured by the same variables as the official image, whose name it gets where no image registry
# is reached. Only what docker-compose.yml uses of it.
FROM debian:12.11-slim
RUN apt-get update -qq \
  && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends default-jre-headless libzookeeper-java libslf4j-java \
  && useradd --system --uid 1000 zookeeper \
  && install -d -o zookeeper /conf /data /datalog
COPY zookeeper-entrypoint.sh /
USER zookeeper
VOLUME /data /datalog
ENTRYPOINT ["/zookeeper-entrypoint.sh"]
