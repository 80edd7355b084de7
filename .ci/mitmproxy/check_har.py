"""Opens a HAR file with mitmproxy and checks that nothing is lost.

    python check_har.py FILE REQUESTS MESSAGES

Every entry must become a flow with the same request, response and bodies. mitmproxy (12.3.1, the newest) ignores the
messages of WebSockets in the HAR files that it reads, so they are added to the flows here, with mitmproxy's own types.
What mitmproxy writes of these flows must then have the same messages, in the same form.
"""
import base64
import json
import sys

from mitmproxy.addons.savehar import SaveHar
from mitmproxy.io import FlowReader
from mitmproxy.websocket import WebSocketData, WebSocketMessage


def add_messages(flow, messages):
    if getattr(flow, 'websocket', None) is not None:
        return 'reads'
    flow.websocket = WebSocketData()
    for message in messages:
        data = message['data']
        content = data.encode() if message['opcode'] == 1 else base64.b64decode(data)
        flow.websocket.messages.append(
            WebSocketMessage(message['opcode'], message['type'] == 'send', content, message['time']))
    return 'ignores'


def main(path, requests, messages):
    with open(path) as f:
        ours = json.load(f)['log']['entries']
    with open(path, 'rb') as f:
        flows = list(FlowReader(f).stream())
    assert len(flows) == len(ours), f'{len(flows)} flows of {len(ours)} entries'
    reader = set()
    for flow, entry in zip(flows, ours):
        if '_webSocketMessages' in entry:
            reader.add(add_messages(flow, entry['_webSocketMessages']))
    theirs = SaveHar().make_har(flows)['log']['entries']
    seen = {'requests': 0, 'messages': 0, 'bodies': 0}
    for our, their in zip(ours, theirs):
        place = our['request']['url']
        for part, field in [('request', 'method'), ('request', 'url'), ('response', 'status')]:
            # mitmproxy adds a path to a URL without one.
            want, got = (str(entry[part][field]).rstrip('/') for entry in (our, their))
            assert want == got, f'{place}: {field} is {got}'
        for part, body in [('request', 'postData'), ('response', 'content')]:
            text = our[part].get(body, {}).get('text') or ''
            got = their[part].get(body, {}).get('text') or ''
            if our[part].get(body, {}).get('encoding') == 'base64' and their[part][body].get('encoding') != 'base64':
                # What looks like text to mitmproxy is written as such.
                text = base64.b64decode(text).decode('latin-1')
            assert text == got, f'{place}: the {part} has another body'
            seen['bodies'] += bool(text)
        assert our.get('_webSocketMessages') == their.get('_webSocketMessages'), f'{place}: other messages'
        seen['messages'] += len(our.get('_webSocketMessages', []))
        seen['requests'] += '_webSocketMessages' not in our
    assert (seen['requests'], seen['messages']) == (requests, messages), f'{seen} of {requests} and {messages}'
    print(f"mitmproxy opens {path}: {seen['requests']} requests with {seen['bodies']} bodies, {seen['messages']} messages; "
          f"its reader {' and '.join(reader)} messages")


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
