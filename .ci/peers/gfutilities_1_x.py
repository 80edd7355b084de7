"""Runs the emulator of gfutilities 0.5.19 (1.x), unmodified, against a local service, until it is killed or its
time limit is reached.

    pip install gfutilities==0.5.19 requests lomond
    python gfutilities_1_x.py https://localhost:1234 wss://localhost:1234 --ca ca.pem

Needs Python 3.11 or older, for configparser's SafeConfigParser. TLS only: the client posts events to the status address
with wss read as https.
"""
import arguments
import trust

args = arguments.parse('gfutilities 0.5.19 against a local service')
if args.ca:
    trust.trust(args.ca)

from gfutilities.DEVICE.emulator import Emulator  # noqa: E402 (after setting the trusted certificates)

config = f'{args.dir}/gfutilities-{args.serial}.cfg'
with open(config, 'w') as f:
    f.write(f"""[GENERAL]
console_log_level: INFO
firmware_check: True
firmware_dir: {args.dir}/firmware
motion_dir: {args.dir}/motion
image_dir: {args.images}
[SERVICE]
server_url: {args.server}
status_service_url: {args.status}
[MACHINE]
ip_address: 192.168.100.101
serial: {args.serial}
hostname: peer
password: {args.password}
head_serial: 123456789
firmware: 1.6.0-35
app_version: 370ee0b4dad80d10d088b6b65fd10a9144eff5a5
head_firmware: 199234110
[MATERIAL]
thickness: .230
""")
emulator = Emulator(config)
if not emulator.connect():
    raise SystemExit('cannot connect')
emulator.run()
