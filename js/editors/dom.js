// Elements and the style of the editors. Everything lives in a shadow root: nothing of the page is styled.
export function make(tag, properties = {}, ...children) {
    const { dataset, style, ...rest } = properties;
    const element = Object.assign(document.createElement(tag), rest);
    Object.assign(element.dataset, dataset ?? {});
    Object.assign(element.style, style ?? {});
    element.append(...children);
    return element;
}

// The host's theme names its colours as variables; they reach into a shadow root.
const STYLE = `
:host { display: block; width: 100%; height: 100%; min-height: 0; }
.root { display: flex; flex-direction: column; gap: 6px; height: 100%; box-sizing: border-box; min-height: 0;
    color: var(--input-text, #ddd); font: 13px/1.3 Inter, system-ui, sans-serif; }
.root.dialog { padding: 12px; background: var(--comfy-menu-bg, #222); border: 1px solid var(--border-color, #4e4e4e);
    border-radius: 10px; outline: none; }
.bar { display: flex; flex-wrap: wrap; gap: 6px; align-items: center; }
.bar .space { flex: 1; }
.title { font-weight: 600; font-size: 15px; }
button, input[type=number] { font: inherit; color: var(--input-text, #ddd); background: var(--comfy-input-bg, #333);
    border: 1px solid var(--border-color, #4e4e4e); border-radius: 6px; padding: 4px 9px; min-height: 30px;
    box-sizing: border-box; }
button { cursor: pointer; white-space: nowrap; touch-action: manipulation; }
button:hover:not(:disabled) { border-color: var(--input-text, #ddd); }
button:disabled { opacity: .4; cursor: default; }
button[aria-pressed=true] { outline: 2px solid var(--own, #4a9eff); outline-offset: -2px; }
button:focus-visible, input:focus-visible, canvas:focus-visible { outline: 2px solid #4a9eff; outline-offset: 1px; }
button .key { opacity: .6; font-size: 11px; margin-left: 5px; }
.swatch { display: inline-block; width: 10px; height: 10px; border-radius: 50%; margin-right: 6px; }
.swatch.square { border-radius: 2px; background: none !important; border: 2px solid; width: 8px; height: 8px; }
input[type=number] { width: 76px; }
input[type=range] { flex: 1; min-width: 60px; height: 30px; margin: 0; accent-color: #4a9eff; cursor: pointer; }
.view { position: relative; flex: 1; min-height: 0; min-width: 0; overflow: hidden; border-radius: 6px; background: #0c0c0e; }
.view canvas { position: absolute; inset: 0; width: 100%; height: 100%; display: block; }
.view canvas.edit { touch-action: none; cursor: crosshair; }
.track { position: relative; flex: 1; display: flex; min-width: 60px; }
.ticks { position: absolute; left: 8px; right: 8px; top: 0; height: 6px; pointer-events: none; }
.ticks i { position: absolute; width: 3px; height: 7px; margin-left: -1px; border-radius: 1px; background: #f2b134; }
.ticks i.lost { background: #e5484d; }
.said { color: var(--descrip-text, #999); min-height: 17px; }
.said.bad { color: #e5484d; }
.row { display: flex; gap: 8px; align-items: center; height: 100%; box-sizing: border-box; }
.row .said { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; flex: 1; min-width: 0; }
.check { display: inline-flex; align-items: center; gap: 5px; min-height: 30px; cursor: pointer; }
.check input { width: 16px; height: 16px; accent-color: #4a9eff; }
`;

export function shadow(host, ...children) {
    const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
    root.replaceChildren(make("style", { textContent: STYLE }), ...children);
    return root;
}

export function button(label, act, { title = "", key = "", own, square, pressed, name } = {}) {
    const element = make("button", { type: "button", title: key ? `${title} (${key})` : title });
    if (name) element.dataset.name = name;
    if (own) {
        const swatch = make("span", { className: square ? "swatch square" : "swatch" });
        swatch.style.background = swatch.style.borderColor = own;
        element.style.setProperty("--own", own);
        element.append(swatch);
    }
    element.append(label);
    if (key && key.length < 8) element.append(make("span", { className: "key", textContent: key }));
    if (pressed !== undefined) element.setAttribute("aria-pressed", String(pressed));
    element.addEventListener("click", act);
    return element;
}

export function check(label, value, act, title = "") {
    const box = make("input", { type: "checkbox", checked: value });
    box.addEventListener("change", () => act(box.checked));
    return make("label", { className: "check", title }, box, label);
}

// A dialog over the page, in the browser's top layer; `build(body, close)` fills it and gives the element to focus.
export function openDialog(label, build, closed) {
    const dialog = make("dialog", { ariaLabel: label });
    Object.assign(dialog.style, {
        width: "min(1500px, 96vw)", height: "94vh", maxWidth: "none", maxHeight: "none", margin: "auto", padding: "0",
        border: "none", background: "transparent", overflow: "hidden", outline: "none",
    });
    const host = make("div", { style: { width: "100%", height: "100%" } });
    dialog.append(host);
    const body = make("div", { className: "root dialog" });
    shadow(host, body);
    // what is typed here is not for the graph behind
    for (const type of ["keydown", "keyup", "keypress", "wheel", "contextmenu", "pointerdown", "paste", "copy"])
        dialog.addEventListener(type, event => event.stopPropagation());
    const close = () => dialog.close();
    dialog.addEventListener("close", () => {
        dialog.remove();
        closed?.();
    });
    document.body.append(dialog);
    const first = build(body, close);
    dialog.showModal();
    first?.focus();
    return dialog;
}
