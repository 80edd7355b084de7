"""Runs the emulator of gfutilities 0.9.1 (2.6), as it is, against a local service, until it is killed or its time is over.

    pip install gfutilities==0.9.1
    python gfutilities_2_6.py https://localhost:1234 wss://localhost:1234 --ca ca.pem
"""
import arguments
import trust

given = arguments.parse('gfutilities 0.9.1 against a local service')
if given.ca:
    trust.trust(given.ca)

from gfutilities import Emulator, GFUIService  # noqa: E402: what is trusted is settled first
from gfutilities.configuration import parse  # noqa: E402

config = f'{given.dir}/gfutilities-{given.serial}.cfg'
with open(config, 'w') as f:
    f.write(f"""[SERVICE]
server_url: {given.server}
status_service_url: {given.status}
[MACHINE]
serial: {given.serial}
hostname: peer
password: {given.password}
[FACTORY_FIRMWARE]
check: True
download_dir: {given.dir}/firmware
fw_version: 2.6.0-2228
[EMULATOR]
motion_dl_dir: {given.dir}/motion
image_src_dir: {given.images}
bypass_homing: False
material_thickness: .230
[LOGGING]
file: {given.dir}/motion/gfutilities.log
""")
parse(config)
service = GFUIService(Emulator())
if not service.connect():
    raise SystemExit('it does not connect')
service.run()
