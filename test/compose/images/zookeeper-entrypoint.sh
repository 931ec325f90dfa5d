#!/bin/bash
# Writes zoo.cfg and myid from ZOO_* as the official image does, then becomes the server.
set -eu
umask 0077
{
  printf '%s\n' dataDir=/data dataLogDir=/datalog tickTime=2000 initLimit=5 syncLimit=2 maxClientCnxns=60
  printf '%s\n' "autopurge.purgeInterval=$ZOO_AUTOPURGE_PURGEINTERVAL" "admin.enableServer=$ZOO_ADMINSERVER_ENABLED"
  printf '%s\n' "4lw.commands.whitelist=$ZOO_4LW_COMMANDS_WHITELIST"
  printf '%s\n' $ZOO_SERVERS
} >/conf/zoo.cfg
[ -f /data/myid ] || echo "$ZOO_MY_ID" >/data/myid
jars=/usr/share/java
exec java $JVMFLAGS -Dorg.slf4j.simpleLogger.defaultLogLevel=warn \
  -cp "$jars/zookeeper.jar:$jars/slf4j-simple.jar" \
  org.apache.zookeeper.server.quorum.QuorumPeerMain /conf/zoo.cfg
