// Draws the figures.
const settings = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
const figures = JSON.parse(document.getElementById("figures").textContent);
for (const [key, figure] of Object.entries(figures)) {
  Plotly.newPlot("figure-" + key, figure.data, figure.layout, settings);
}
