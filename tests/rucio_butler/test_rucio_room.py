"""A few movements hold the lists of their files at a time, and none while it waits."""

import asyncio

import pytest

from cmd_rucio_butler.room import Seat


async def test_who_waits_makes_room_for_others_and_takes_its_seat_again() -> None:
    room = asyncio.Semaphore(1)
    landed = asyncio.Event()
    told: list[str] = []

    async def flies() -> None:
        async with Seat(room) as seat:
            told.append("sets off")
            async with seat.away():
                await landed.wait()
            told.append("lands")

    async def comes_later() -> None:
        async with Seat(room):
            told.append("others work")
            landed.set()
            await asyncio.sleep(0)  # the seat is not free yet
            told.append("others are done")

    async with asyncio.timeout(10):
        await asyncio.gather(flies(), comes_later())
    assert told == ["sets off", "others work", "others are done", "lands"]
    assert not room.locked()


async def test_an_error_on_the_way_frees_the_seat_once() -> None:
    room = asyncio.Semaphore(1)
    with pytest.raises(ValueError, match="lost"):
        async with Seat(room) as seat, seat.away():
            raise ValueError("lost")
    async with asyncio.timeout(10), Seat(room):
        assert room.locked()
    assert not room.locked()


async def test_a_cancelled_wait_for_a_seat_takes_none() -> None:
    room = asyncio.Semaphore(1)

    async def waits() -> None:
        async with Seat(room):
            raise AssertionError("there was no seat")

    async with Seat(room):
        waiting = asyncio.create_task(waits())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert not room.locked()
