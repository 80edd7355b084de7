"""An addon for mitmdump: a line for every request that was answered and for every WebSocket message.

    mitmdump -s note_flows.py --set flows_file=FILE

No query and no body: those have secrets in them.
"""
import json

from mitmproxy import ctx


class NoteFlows:
    def load(self, loader):
        loader.add_option('flows_file', str, '', 'Where the lines go.')

    def note(self, line):
        with open(ctx.options.flows_file, 'a') as f:
            f.write(line + '\n')

    def response(self, flow):
        path = flow.request.path.split('?')[0]
        kind = 'websocket' if flow.response.status_code == 101 else 'http'
        # The last part of the WebSocket's path is a token.
        shown = path if kind == 'http' else ''
        self.note(f'{kind} {flow.request.method} {flow.request.host} {shown} {flow.response.status_code}')

    def websocket_message(self, flow):
        message = flow.websocket.messages[-1]
        sender = 'machine' if message.from_client else 'service'
        for line in message.text.splitlines():
            said = json.loads(line)
            self.note(f"{sender} {said.get('event') or said.get('progress') or said.get('action_type')}")


addons = [NoteFlows()]
