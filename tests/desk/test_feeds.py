"""What a venue tells in one batch: journaled fact by fact, shown together."""

from decimal import Decimal

from tests.fakes import BUY, World


async def test_of_a_batch_every_fill_is_shown_and_the_last_row_of_its_order() -> None:
    world = World()
    async with world.life() as system:
        await world.call("order.place", **BUY, client_order_id="g-1")
        held = world.venue.of("g-1")
        held.shown = False
        world.venue.fill("g-1", Decimal("0.004"))
        world.venue.fill("g-1")
        rows = system.store.seq
        before = {name: system.hub.position(name) or {} for name in ("orders", "fills")}
        system.feeds.take(held.fills)
        facts = system.store.seq - rows
        await system.desk.settled()

        after = {name: system.hub.position(name) or {} for name in before}
        moved = {name: (before[name].get("seq"), after[name].get("seq")) for name in before}
        assert moved == {"orders": (2, 3), "fills": (0, 2)}
        assert facts == 2
        assert world.order("g-1").filled == Decimal("0.01")
