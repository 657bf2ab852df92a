// When a graph is loaded over another (also by undo), the Vue renderer may go on showing the widget's element of the
// former node with the same id: the element of the node that is there now takes its place.
const WAITS = [50, 300, 1000]; // milliseconds
const made = new Set();

const isThere = node => node.graph?.getNodeById?.(node.id) === node;

export function keepMounted(node, host) {
    const own = { node: new WeakRef(node), host: new WeakRef(host) };
    made.add(own);
    for (const wait of WAITS) setTimeout(() => mount(own), wait);
}

function mount(own) {
    const node = own.node.deref(), host = own.host.deref();
    if (!node || !host || host.isConnected || !isThere(node)) return;
    for (const other of made) {
        const former = other.node.deref(), shown = other.host.deref();
        if (!former || !shown) made.delete(other);
        else if (former !== node && former.type === node.type && former.id === node.id && shown.isConnected && !isThere(former))
            return void shown.replaceWith(host);
    }
}
