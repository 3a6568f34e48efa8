# The stream processor for production (docs/operations.md); the other scripts are in it, too.
#   docker build --tag kafka-workshop .
#   docker run --read-only --cap-drop ALL -p 127.0.0.1:8000:8000 -e KAFKA_BOOTSTRAP_SERVERS=broker:9092 kafka-workshop
FROM python:3.13-slim

WORKDIR /app
COPY requirements.txt ./
COPY requirements/metrics.txt requirements/oauth.txt requirements/
RUN ["pip", "install", "--no-cache-dir", "-r", "requirements.txt", "-r", "requirements/metrics.txt", "-r", "requirements/oauth.txt"]
COPY *.py ./
COPY pipeline pipeline/
# Now, as nothing can be written when it runs
RUN ["python", "-m", "compileall", "-q", "."]

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]
# Python is process 1 and gets SIGTERM itself: the scripts handle it, and end within 5 s
ENTRYPOINT ["python"]
CMD ["stream_processor.py", "--metrics-port", "8000", "--log-format", "json"]
