// Draws the figures in the colours of the page, light or dark.
const figures = JSON.parse(document.getElementById("figures").textContent);
const settings = {
  displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"],
  showSendToCloud: false,  // a button that plotly has by default, and that would give a study away
  displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,  // a finger has none, and it hides the legend
};

function look() {
  const styles = getComputedStyle(document.documentElement), colour = (name) => styles.getPropertyValue(name).trim();
  const axis = {
    showline: true, linecolor: colour("--soft"), tickcolor: colour("--soft"), gridcolor: colour("--rule"),
    zeroline: false, ticks: "outside", automargin: true, exponentformat: "e", title: { font: { size: 13 } },
  };
  return { layout: {
    paper_bgcolor: "transparent", plot_bgcolor: "transparent", margin: { l: 60, r: 20, t: 25, b: 50 },
    font: { family: "system-ui, -apple-system, 'Segoe UI', sans-serif", size: 13, color: colour("--ink") },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0 }, hoverlabel: { bgcolor: colour("--card") },
    colorway: ["#3b87b5", "#d97706", "#2f9e68", "#98a2b3"], xaxis: axis, yaxis: axis,
  } };
}

function drawFigures() {
  for (const [key, several] of Object.entries(figures))
    several.forEach((figure, place) => {
      const layout = { ...figure.layout, template: look() };
      Plotly.react(`figure-${key}-${place}`, figure.data, layout, settings);
    });
}
drawFigures();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawFigures);
