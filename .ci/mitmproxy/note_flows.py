"""An addon for mitmdump: writes a line for each response and each WebSocket message.

    mitmdump -s note_flows.py --set flows_file=FILE

Queries and bodies are not written, because they contain secrets.
"""
import json

from mitmproxy import ctx


class NoteFlows:
    def load(self, loader):
        loader.add_option('flows_file', str, '', 'The output file.')

    def write_line(self, line):
        with open(ctx.options.flows_file, 'a') as f:
            f.write(line + '\n')

    def response(self, flow):
        path = flow.request.path.split('?')[0]
        kind = 'websocket' if flow.response.status_code == 101 else 'http'
        # The last part of the WebSocket's path is a token.
        shown_path = path if kind == 'http' else ''
        self.write_line(f'{kind} {flow.request.method} {flow.request.host} {shown_path} {flow.response.status_code}')

    def websocket_message(self, flow):
        message = flow.websocket.messages[-1]
        sender = 'machine' if message.from_client else 'service'
        for line in message.text.splitlines():
            fields = json.loads(line)
            self.write_line(f"{sender} {fields.get('event') or fields.get('progress') or fields.get('action_type')}")


addons = [NoteFlows()]
