// Mouse, pen and touch on a stage: one pointer edits, two move and zoom, the middle button moves.
export function listen(stage, { down, move, up }) {
    const { canvas } = stage, held = new Map();
    let editing = false, pinched = null, panning = null;

    const spread = () => {
        const [a, b] = [...held.values()];
        return {
            x: (a.clientX + b.clientX) / 2,
            y: (a.clientY + b.clientY) / 2,
            wide: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY),
        };
    };

    canvas.addEventListener("pointerdown", event => {
        event.preventDefault();
        canvas.focus({ preventScroll: true });
        held.set(event.pointerId, event);
        canvas.setPointerCapture?.(event.pointerId);
        if (held.size === 2) {
            if (editing) up?.(event, true);
            editing = false;
            pinched = spread();
        } else if (held.size === 1) {
            if (event.button === 1) panning = event;
            else editing = down(event, stage.locate(event), event.pointerType === "touch" ? 22 : 10) !== false;
            if (!editing && !panning && stage.zoom > 1) panning = event;
        }
    });
    canvas.addEventListener("pointermove", event => {
        if (held.has(event.pointerId)) held.set(event.pointerId, event);
        if (pinched && held.size === 2) {
            const now = spread(), rectangle = canvas.getBoundingClientRect();
            stage.pan.x += now.x - pinched.x;
            stage.pan.y += now.y - pinched.y;
            stage.zoomBy(now.wide / Math.max(pinched.wide, 1), now.x - rectangle.left, now.y - rectangle.top);
            pinched = now;
        } else if (panning) {
            stage.pan.x += event.clientX - panning.clientX;
            stage.pan.y += event.clientY - panning.clientY;
            panning = event;
            stage.paint();
        } else move(event, stage.locate(event), editing);
    });
    const end = event => {
        held.delete(event.pointerId);
        if (held.size < 2) pinched = null;
        if (editing && !held.size) up?.(event, event.type === "pointercancel");
        if (!held.size) editing = false;
        panning = null;
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    // no gesture of the browser's begins here: after a quick swipe it would swallow the next tap
    canvas.addEventListener("touchstart", event => event.preventDefault(), { passive: false });
    canvas.addEventListener("contextmenu", event => event.preventDefault());
}
