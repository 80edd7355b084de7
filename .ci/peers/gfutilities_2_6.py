"""Runs the emulator of gfutilities (0.9.1 or newer, 2.6), unmodified, against a local service, until it is killed or its
time limit is reached.

    pip install gfutilities
    python gfutilities_2_6.py https://localhost:1234 wss://localhost:1234 --ca ca.pem
"""
import arguments
import trust

args = arguments.parse('gfutilities against a local service')
if args.ca:
    trust.trust(args.ca)

from gfutilities import Emulator, GFUIService  # noqa: E402 (after setting the trusted certificates)
from gfutilities.configuration import parse  # noqa: E402

config = f'{args.dir}/gfutilities-{args.serial}.cfg'
with open(config, 'w') as f:
    f.write(f"""[SERVICE]
server_url: {args.server}
status_service_url: {args.status}
[MACHINE]
serial: {args.serial}
hostname: peer
password: {args.password}
[FACTORY_FIRMWARE]
check: True
download_dir: {args.dir}/firmware
fw_version: 2.6.0-2228
[EMULATOR]
motion_dl_dir: {args.dir}/motion
image_src_dir: {args.images}
bypass_homing: False
material_thickness: .230
[LOGGING]
file: {args.dir}/motion/gfutilities.log
""")
parse(config)
service = GFUIService(Emulator())
if not service.connect():
    raise SystemExit('cannot connect')
service.run()
