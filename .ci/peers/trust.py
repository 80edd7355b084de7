"""Has a Python client trust a local service's root certificate, without a change to the client or its packages."""
import os
import tempfile


def trust(ca_file):
    """Call it before requests is imported: requests asks certifi once, at import, what to trust."""
    import certifi
    with open(certifi.where()) as known, open(ca_file) as extra:
        text = known.read() + '\n' + extra.read()
    handle, bundle = tempfile.mkstemp(prefix='roots-', suffix='.pem')
    with os.fdopen(handle, 'w') as f:
        f.write(text)
    certifi.where = lambda: bundle
    # For what asks OpenSSL itself (websocket-client, lomond), and in place of what the environment tells requests.
    os.environ['REQUESTS_CA_BUNDLE'] = bundle
    os.environ['SSL_CERT_FILE'] = bundle
