import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.DateTimeException;
import java.time.Duration;
import java.time.Instant;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.time.format.DateTimeFormatterBuilder;
import java.time.format.ResolverStyle;
import java.time.temporal.ChronoField;
import java.time.temporal.ChronoUnit;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Properties;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;

/**
 * The work of stream_processor.py as a Kafka Streams application with exactly_once_v2.
 *
 * <p>Arguments: bootstrap servers, group, then the topics: web, purchases, clean events, dead letters.
 */
public final class KafkaStreamsLoop {
    private static final Duration CLOSE_LIMIT = Duration.ofSeconds(3);

    public static void main(String[] arguments) throws IOException {
        String group = arguments[1];
        String webEvents = arguments[2];
        // Two processes must not share one, and nothing is kept in it.
        Path state = Files.createTempDirectory("kafka-streams-");
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, group); // it is the consumer group, too
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, state.toString());

        Topology topology = new Topology();
        var bytes = new ByteArrayDeserializer();
        var out = new ByteArraySerializer();
        // Nothing in common: so each partition of each source is a task, and two processes share six as three each.
        for (String source : List.of(webEvents, arguments[3])) {
            String normalize = "normalize " + source;
            topology.addSource(source, bytes, bytes, source);
            topology.addProcessor(normalize, () -> new Normalizer(webEvents, group), source);
            topology.addSink(Normalizer.CLEAN + source, arguments[4], out, out, normalize);
            topology.addSink(Normalizer.DEAD_LETTERS + source, arguments[5], out, out, normalize);
        }

        KafkaStreams streams = new KafkaStreams(topology, settings);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(CLOSE_LIMIT); // a thread that waits to join its group does not end before it has
            delete(state);
        }));
        streams.start();
    }

    private static void delete(Path folder) {
        try (Stream<Path> inside = Files.walk(folder)) {
            inside.sorted(Comparator.reverseOrder()).forEach(path -> path.toFile().delete());
        } catch (IOException error) {
            // a temporary folder that stays does no harm
        }
    }
}

/** Sends each record on to one of two sinks, with its key and its timestamp. */
final class Normalizer implements Processor<byte[], byte[], byte[], byte[]> {
    static final String CLEAN = "clean ";
    static final String DEAD_LETTERS = "dead letters ";

    private final String webEvents;
    private final String group;
    private ProcessorContext<byte[], byte[]> context;

    Normalizer(String webEvents, String group) {
        this.webEvents = webEvents;
        this.group = group;
    }

    @Override
    public void init(ProcessorContext<byte[], byte[]> context) {
        this.context = context;
    }

    @Override
    public void process(Record<byte[], byte[]> record) {
        RecordMetadata source = context.recordMetadata().orElseThrow();
        byte[] event;
        try {
            event = source.topic().equals(webEvents)
                ? Events.normalizeWeb(record.value())
                : Events.normalizePurchase(record.value());
        } catch (BrokenEventException error) {
            Headers headers = DeadLetters.headers(record.headers(), source, group, error);
            context.forward(record.withHeaders(headers), DEAD_LETTERS + source.topic());
            return;
        }
        context.forward(record.withValue(event), CLEAN + source.topic());
    }
}

/** The event can't be normalized. */
final class BrokenEventException extends Exception {
    BrokenEventException(String message) {
        super(message);
    }

    BrokenEventException(String message, Exception cause) {
        super(message, cause);
    }
}

/**
 * What pipeline/schema.py does: the schemas, strict, and one kind of event made of two.
 *
 * <p>It refuses what msgspec reads too: offsets without colon or beyond 18 hours, ids without hyphens.
 */
final class Events {
    private static final ObjectMapper JSON =
        new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);
    private static final Set<String> WEB_TYPES = Set.of("page_view", "click", "search", "add_to_cart");
    private static final Pattern UUID =
        Pattern.compile("[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}");
    private static final Pattern CURRENCY = Pattern.compile("[A-Z]{3}");
    private static final DateTimeFormatter RFC_3339 = new DateTimeFormatterBuilder()
        .appendPattern("uuuu-MM-dd'T'HH:mm:ss")
        .optionalStart().appendFraction(ChronoField.NANO_OF_SECOND, 1, 9, true).optionalEnd()
        .appendOffset("+HH:MM", "Z")
        .toFormatter()
        .withResolverStyle(ResolverStyle.STRICT);
    private static final DateTimeFormatter SECONDS = DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss'Z'");
    private static final DateTimeFormatter MICROS =
        DateTimeFormatter.ofPattern("uuuu-MM-dd'T'HH:mm:ss.SSSSSS'Z'");

    private Events() {}

    static byte[] normalizeWeb(byte[] value) throws BrokenEventException {
        JsonNode event = read(value);
        ObjectNode details = JSON.createObjectNode().put("page", text(event, "page"));
        String type = text(event, "event_type");
        if (!WEB_TYPES.contains(type)) {
            throw new BrokenEventException("Invalid enum value '" + type + "' - at `$.event_type`");
        }
        return encode(event, "event_id", type, "web", details);
    }

    static byte[] normalizePurchase(byte[] value) throws BrokenEventException {
        JsonNode event = read(value);
        ObjectNode details = JSON.createObjectNode()
            .put("product_id", text(event, "product_id"))
            .put("quantity", number(event, "quantity", 1))
            .put("amount", number(event, "amount", 0))
            .put("currency", matching(event, "currency", CURRENCY));
        return encode(event, "order_id", "purchase", "purchase", details);
    }

    private static byte[] encode(JsonNode event, String id, String type, String source, ObjectNode details)
            throws BrokenEventException {
        ObjectNode analytics = JSON.createObjectNode()
            .put("event_id", matching(event, id, UUID).toLowerCase())
            .put("event_type", type)
            .put("source", source)
            .put("user_id", number(event, "user_id", Long.MIN_VALUE))
            .put("occurred_at", inUtc(text(event, "timestamp")));
        analytics.set("details", details);
        try {
            return JSON.writeValueAsBytes(analytics);
        } catch (JsonProcessingException error) {
            throw new IllegalStateException(error);
        }
    }

    private static JsonNode read(byte[] value) throws BrokenEventException {
        if (value == null || value.length == 0) {
            throw new BrokenEventException(value == null ? "Value is null" : "Value is empty");
        }
        JsonNode event;
        try {
            // Text first: of bytes, Jackson would also read UTF-16, and a byte order mark.
            var text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(value));
            event = JSON.readTree(text.toString());
        } catch (CharacterCodingException error) {
            throw new BrokenEventException("Value is not UTF-8", error);
        } catch (JsonProcessingException error) {
            throw new BrokenEventException("JSON is malformed: " + error.getOriginalMessage(), error);
        }
        if (!event.isObject()) {
            throw new BrokenEventException("Expected `object`, got `" + type(event) + "`");
        }
        return event;
    }

    private static JsonNode field(JsonNode event, String name) throws BrokenEventException {
        JsonNode field = event.get(name);
        if (field == null) {
            throw new BrokenEventException("Object missing required field `" + name + "`");
        }
        return field;
    }

    private static String text(JsonNode event, String name) throws BrokenEventException {
        JsonNode field = field(event, name);
        if (!field.isTextual()) {
            throw new BrokenEventException("Expected `str`, got `" + type(field) + "` - at `$." + name + "`");
        }
        return field.textValue();
    }

    private static String matching(JsonNode event, String name, Pattern pattern) throws BrokenEventException {
        String text = text(event, name);
        if (!pattern.matcher(text).matches()) {
            throw new BrokenEventException("Invalid value - at `$." + name + "`");
        }
        return text;
    }

    private static long number(JsonNode event, String name, long least) throws BrokenEventException {
        JsonNode field = field(event, name);
        if (!field.isIntegralNumber()) {
            throw new BrokenEventException("Expected `int`, got `" + type(field) + "` - at `$." + name + "`");
        }
        if (!field.canConvertToLong() || field.longValue() < least) {
            throw new BrokenEventException("Integer out of range - at `$." + name + "`");
        }
        return field.longValue();
    }

    private static String inUtc(String timestamp) throws BrokenEventException {
        try {
            var moment = OffsetDateTime.parse(timestamp, RFC_3339).withOffsetSameInstant(ZoneOffset.UTC);
            if (moment.getYear() < 1 || moment.getYear() > 9999) {
                throw new BrokenEventException("Timestamp is outside of the years 1 to 9999 in UTC");
            }
            return moment.format(moment.getNano() / 1000 == 0 ? SECONDS : MICROS);
        } catch (DateTimeException error) {
            throw new BrokenEventException("Invalid RFC3339 encoded datetime - at `$.timestamp`", error);
        }
    }

    private static String type(JsonNode node) {
        switch (node.getNodeType()) {
            case STRING: return "str";
            case NUMBER: return node.isIntegralNumber() ? "int" : "float";
            case BOOLEAN: return "bool";
            default: return node.getNodeType().name().toLowerCase();
        }
    }
}

/** What pipeline/dead_letters.py does: the headers that say where a record came from and why it died. */
final class DeadLetters {
    private static final String PREFIX = "__dlq.errors.";
    private static final String DELIVERY_COUNT = PREFIX + "delivery.count";
    private static final Pattern COUNT = Pattern.compile("[0-9]{1,9}");
    private static final int MAX_MESSAGE_BYTES = 512;

    private DeadLetters() {}

    static Headers headers(Headers own, RecordMetadata source, String group, BrokenEventException error) {
        Exception cause = error.getCause() == null ? error : (Exception) error.getCause();
        Headers headers = new RecordHeaders(own);
        add(headers, "topic", source.topic());
        add(headers, "partition", Integer.toString(source.partition()));
        add(headers, "offset", Long.toString(source.offset()));
        add(headers, "group", group);
        headers.add(PREFIX + "message", shortened(error.getMessage()));
        add(headers, "exception", cause.getClass().getSimpleName());
        add(headers, "timestamp", Instant.now().truncatedTo(ChronoUnit.MILLIS).toString());
        add(headers, "delivery.count", Integer.toString(earlierDeliveries(own) + 1));
        return headers;
    }

    private static void add(Headers headers, String name, String text) {
        headers.add(PREFIX + name, text.getBytes(StandardCharsets.UTF_8));
    }

    private static int earlierDeliveries(Headers headers) {
        Header count = headers.lastHeader(DELIVERY_COUNT);
        if (count == null || count.value() == null) {
            return 0;
        }
        String text = new String(count.value(), StandardCharsets.UTF_8);
        return COUNT.matcher(text).matches() ? Integer.parseInt(text) : 0;
    }

    private static byte[] shortened(String message) {
        byte[] text = message.getBytes(StandardCharsets.UTF_8);
        int end = Math.min(text.length, MAX_MESSAGE_BYTES);
        while (end < text.length && (text[end] & 0xC0) == 0x80) { // not in the middle of a character
            end--;
        }
        return Arrays.copyOf(text, end);
    }
}
