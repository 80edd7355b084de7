"""What both runners are told on the command line."""
import argparse
import os
import pathlib
import threading

PASSWORD = '0123456789abcdef' * 4
PICTURES = ['HOME_1', 'HOME_2', 'HOME_3', 'HOME_4', 'LID_IMAGE', 'HEAD_LASER_.230', 'HEAD_NO_LASER_.230']


def parse(what):
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument('server', help='such as https://localhost:1234')
    parser.add_argument('status', help='such as wss://localhost:1234')
    parser.add_argument('--ca', help='a root certificate to trust, PEM')
    parser.add_argument('--dir', default='.', help='where it keeps what it collects')
    parser.add_argument('--images', help='where its pictures are; small ones are made in DIR otherwise')
    parser.add_argument('--serial', default='12345678')
    parser.add_argument('--password', default=PASSWORD)
    parser.add_argument('--seconds', type=float, default=120, help='after which it ends, by force: it never does itself')
    given = parser.parse_args()
    folder = pathlib.Path(given.dir).resolve()
    for name in ['motion', 'firmware']:
        (folder / name).mkdir(parents=True, exist_ok=True)
    if given.images is None:
        images = folder / 'images'
        images.mkdir(exist_ok=True)
        for name in PICTURES:
            (images / (name + '.jpg')).write_bytes(b'\xff\xd8\xff\xd9')
        given.images = str(images)
    given.dir = str(folder)
    timer = threading.Timer(given.seconds, lambda: os._exit(0))
    timer.daemon = True
    timer.start()
    return given
