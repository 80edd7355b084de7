"""The command line of both runners."""
import argparse
import os
import pathlib
import threading

PASSWORD = '0123456789abcdef' * 4
PICTURES = ['HOME_1', 'HOME_2', 'HOME_3', 'HOME_4', 'LID_IMAGE', 'HEAD_LASER_.230', 'HEAD_NO_LASER_.230']


def parse(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('server', help='such as https://localhost:1234')
    parser.add_argument('status', help='such as wss://localhost:1234')
    parser.add_argument('--ca', help='a root certificate to trust, PEM')
    parser.add_argument('--dir', default='.', help='the folder for jobs and firmware')
    parser.add_argument('--images', help='the folder with its pictures (default: small ones, created in DIR)')
    parser.add_argument('--serial', default='12345678')
    parser.add_argument('--password', default=PASSWORD)
    parser.add_argument('--seconds', type=float, default=120, help='time limit, after which the process exits')
    args = parser.parse_args()
    folder = pathlib.Path(args.dir).resolve()
    for name in ['motion', 'firmware']:
        (folder / name).mkdir(parents=True, exist_ok=True)
    if args.images is None:
        images = folder / 'images'
        images.mkdir(exist_ok=True)
        for name in PICTURES:
            (images / (name + '.jpg')).write_bytes(b'\xff\xd8\xff\xd9')
        args.images = str(images)
    args.dir = str(folder)
    timer = threading.Timer(args.seconds, lambda: os._exit(0))
    timer.daemon = True
    timer.start()
    return args
