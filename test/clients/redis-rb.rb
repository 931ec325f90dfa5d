# redis-rb with its cluster option against dkv, driven by script-clients.ts: `run CONTEXT` or `write LOAD`.
require "json"
require "redis"

def connect(ports, **options)
  Redis.new(cluster: ports.map { |port| "redis://127.0.0.1:#{port}" }, timeout: 5, **options)
end

def equal(actual, expected)
  raise "#{actual.inspect} instead of #{expected.inspect}"[0, 300] unless actual == expected
end

FEATURES = {
  "singles" => lambda do |client, context|
    context["keys"].each { |key| equal(client.set(key, key), "OK") }
    context["keys"].each { |key| equal(client.get(key), key) }
  end,
  "pipelines" => lambda do |client, context|
    context["tags"].each do |tag|
      replies = client.pipelined do |pipeline|
        10.times do |i|
          pipeline.set("p{#{tag}}#{i}", i)
          pipeline.incr("p{#{tag}}#{i}")
        end
      end
      equal(replies.last, 10)
    end
  end,
  "mixed pipelines" => lambda do |client, context|
    replies = client.pipelined do |pipeline|
      context["keys"].each { |key| pipeline.set("mixed:#{key}", key) }
    end
    equal(replies, context["keys"].map { "OK" })
  end,
  "MULTI" => lambda do |client, context|
    context["tags"].each do |tag|
      replies = client.multi do |transaction|
        transaction.set("m{#{tag}}", 1)
        transaction.incr("m{#{tag}}")
      end
      equal(replies, ["OK", 2])
    end
  end,
  "tagged keys" => lambda do |client, context|
    context["tags"].each do |tag|
      equal(client.mset("a{#{tag}}", "1", "b{#{tag}}", "2"), "OK")
      equal(client.mget("b{#{tag}}", "a{#{tag}}"), ["2", "1"])
      equal(client.del("b{#{tag}}", "a{#{tag}}"), 2)
    end
  end,
  "untagged keys" => lambda do |client, context|
    equal(client.mget(*context["present"]), context["present"])
  end,
  "replica reads" => lambda do |_client, context|
    client = connect(context["ports"], replica: true)
    context["present"].each { |key| equal(client.get(key), key) }
  end,
  "SCAN" => lambda do |client, context|
    found = client.scan_each(match: "#{context["presentPrefix"]}*", count: 100).to_a
    equal(found.uniq.sort, context["present"].sort)
  end
}.freeze

def say(fields)
  puts JSON.generate(fields)
  $stdout.flush
end

def run(context)
  FEATURES.each do |feature, check|
    check.call(connect(context["ports"]), context)
    say(feature: feature, error: "")
  rescue StandardError => e
    say(feature: feature, error: e.message.empty? ? e.class.name : e.message)
  end
end

def write(load)
  stopped = false
  Thread.new do
    $stdin.read
    stopped = true
  end
  client = connect(load["ports"])
  count = 0
  until stopped
    key = "#{load["prefix"]}#{count}"
    count += 1
    begin
      client.set(key, key)
      say(acknowledged: key)
    rescue StandardError => e
      say(failure: e.message)
      sleep 0.005
    end
  end
end

ARGV[0] == "run" ? run(JSON.parse(ARGV[1])) : write(JSON.parse(ARGV[1]))
