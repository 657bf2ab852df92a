// Inside the panel's shadow root: nothing of it reaches the page, and the page's colours reach in as variables.
export const STYLE = `
:host { display: block; position: relative; width: 100%; height: 100%; box-sizing: border-box; }
* { box-sizing: border-box; }
.panel {
    position: absolute; inset: 0; display: flex; flex-direction: column; gap: 4px; padding: 4px 6px; overflow: hidden;
    font: 11px/1.35 Inter, Arial, sans-serif; color: var(--input-text, #ddd); border-radius: 6px;
    background: color-mix(in srgb, var(--comfy-input-bg, #222) 70%, transparent);
    --done: #2f9e63; --now: #3b82f6; --todo: color-mix(in srgb, var(--input-text, #ddd) 22%, transparent);
    --alert: color-mix(in srgb, #f59e0b 45%, var(--input-text, #ddd));
}
.panel > * { flex: none; }
.status { display: flex; gap: 6px; align-items: center; min-height: 16px; }
.status .text {
    overflow: hidden; display: -webkit-box; -webkit-line-clamp: 2; -webkit-box-orient: vertical;
    font-variant-numeric: tabular-nums;
}
.dot { width: 8px; height: 8px; border-radius: 50%; background: var(--now); flex: none; animation: beat 1.4s infinite; }
.waiting .dot { background: var(--todo); }
@keyframes beat { 50% { opacity: 0.35; } }
@media (prefers-reduced-motion: reduce) { .dot { animation: none; } }
.warnings { max-height: 38%; overflow: auto; border-left: 3px solid #f59e0b; padding: 1px 6px; color: var(--alert); }
.warnings p { margin: 0 0 2px; }
[hidden] { display: none !important; }
.stage { flex: 1 1 0; min-height: 0; display: flex; flex-direction: column; position: relative; }
.tabs { display: flex; gap: 2px; flex: none; }
button {
    font: inherit; color: inherit; border: 1px solid var(--border-color, #444); background: transparent;
    border-radius: 4px; padding: 1px 6px; cursor: pointer; min-height: 20px; white-space: nowrap; flex: none;
}
button:hover { background: color-mix(in srgb, var(--input-text, #ddd) 12%, transparent); }
button:focus-visible, [tabindex]:focus-visible, input:focus-visible { outline: 2px solid var(--now); outline-offset: 1px; }
button[aria-selected=true], button[aria-pressed=true] {
    background: color-mix(in srgb, var(--now) 30%, transparent); border-color: var(--now);
}
.pictures { flex: 1 1 0; min-height: 0; display: flex; flex-wrap: wrap; gap: 4px; align-content: stretch; }
.pictures img { flex: 1 1 40%; min-width: 0; min-height: 0; max-height: 100%; object-fit: contain; cursor: zoom-in; }
.pictures.one img { display: none; }
.pictures.one img.chosen { display: block; flex-basis: 100%; cursor: zoom-out; }
.pictures.two img { height: calc(50% - 2px); flex-basis: 100%; }
.words { flex: 1 1 0; min-height: 0; overflow: auto; margin: 0; white-space: pre-wrap; font: inherit; user-select: text; }
.live { flex: 1 1 0; min-height: 0; width: 100%; object-fit: contain; }
.hint { margin: auto; opacity: 0.55; text-align: center; padding: 0 8px; overflow: hidden; }
.timeline { display: flex; flex-direction: column; gap: 3px; }
.segments { display: flex; gap: 2px; overflow-x: auto; padding-bottom: 1px; }
.segment {
    flex: 1 0 46px; max-width: 120px; padding: 0; border: 0; border-bottom: 4px solid var(--todo); border-radius: 3px;
    position: relative; height: 40px; overflow: hidden; text-align: left; min-height: 0;
    background: color-mix(in srgb, var(--input-text, #ddd) 6%, transparent);
}
.segment.done { border-bottom-color: var(--done); }
.segment.running { border-bottom-color: color-mix(in srgb, var(--now) 40%, transparent); }
.segment.out { opacity: 0.45; }
.segment.chosen { outline: 2px solid var(--now); outline-offset: -2px; }
.segment .ends { position: absolute; inset: 0; width: 100%; height: 100%; background-size: 100% 100%; }
.segment .name {
    position: absolute; left: 2px; top: 1px; padding: 0 3px; border-radius: 3px; font-variant-numeric: tabular-nums;
    background: color-mix(in srgb, var(--comfy-input-bg, #222) 75%, transparent);
}
.segment .made { position: absolute; left: 0; bottom: -4px; height: 4px; background: var(--now); }
.segment .left { position: absolute; right: 3px; bottom: 1px; opacity: 0.9; font-variant-numeric: tabular-nums; }
.about { display: flex; gap: 6px; align-items: center; min-height: 22px; flex-wrap: wrap; }
.about .said { flex: 1 1 auto; min-width: 0; }
.half { width: 64px; height: 36px; background-size: 200% 100%; border-radius: 2px; flex: none; }
.compare { flex: 1 1 0; min-height: 0; display: flex; flex-direction: column; gap: 3px; }
.view { flex: 1 1 0; min-height: 0; position: relative; display: flex; gap: 3px; touch-action: none; }
.view figure { flex: 1 1 0; min-width: 0; margin: 0; position: relative; }
.view video { width: 100%; height: 100%; object-fit: contain; display: block; }
.view .cut { position: absolute; inset: 0; overflow: hidden; }
.view .cut.placed video { position: absolute; object-fit: fill; max-width: none; }
.view figcaption {
    position: absolute; left: 4px; top: 3px; padding: 0 4px; border-radius: 3px; color: #fff; background: #000a;
    pointer-events: none;
}
.view.wipe figure { position: absolute; inset: 0; }
.view.wipe figure.result { clip-path: inset(0 0 0 var(--at)); }
.view.wipe figure.result figcaption { left: auto; right: 4px; }
.view.only figure.driver { display: none; }
.handle { position: absolute; top: 0; bottom: 0; left: var(--at); width: 24px; margin-left: -12px; cursor: ew-resize; }
.handle::before { content: ""; position: absolute; inset: 0 11px; background: #fff; box-shadow: 0 0 3px #000; }
.handle::after {
    content: ""; position: absolute; left: 4px; top: calc(50% - 8px); width: 16px; height: 16px; border-radius: 50%;
    background: #fff; box-shadow: 0 0 3px #000;
}
.view:not(.wipe) .handle { display: none; }
.controls { display: flex; gap: 4px; align-items: center; flex: none; }
.controls input { flex: 1 1 40px; min-width: 30px; margin: 0; accent-color: var(--now); }
.controls .frame { font-variant-numeric: tabular-nums; white-space: nowrap; }
`;
