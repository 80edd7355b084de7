"""Makes an unmodified Python client trust a local service's root certificate."""
import os
import tempfile


def trust(ca_file):
    """Must run before requests is imported: requests reads the path of certifi's bundle once, at import."""
    import certifi
    with open(certifi.where()) as known, open(ca_file) as extra:
        text = known.read() + '\n' + extra.read()
    handle, bundle = tempfile.mkstemp(prefix='roots-', suffix='.pem')
    with os.fdopen(handle, 'w') as f:
        f.write(text)
    certifi.where = lambda: bundle
    # For packages that use OpenSSL directly (websocket-client, lomond), and to override the environment for requests.
    os.environ['REQUESTS_CA_BUNDLE'] = bundle
    os.environ['SSL_CERT_FILE'] = bundle
